"""How the documentation is built: `sphinx-build -W docs docs/_build`.

Pages are Markdown; those with code cells are run while they are built, so that every number and figure on them is
made by the code beside it.  The reference is made from the docstrings.  Formulas become MathML while building:
the pages need no network and no script to show them.
"""

from __future__ import annotations

import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import typer
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

import sfhflow
from sfhflow.cli import app as command_line

project = "sfhflow"
author = "the sfhflow developers"
project_copyright = author
version = release = sfhflow.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
default_role = "py:obj"

html_theme = "furo"
html_title = f"sfhflow {release}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_math_renderer = "mathml"

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_render_markdown_format = "myst"

autosummary_ignore_module_all = False
# names of the modules of each package, for the template
autosummary_context = {
    "submodules": {
        f"sfhflow.{folder.name}": [f"sfhflow.{folder.name}.{m.name}" for m in pkgutil.iter_modules([str(folder)])]
        for folder in Path(sfhflow.__file__).parent.iterdir()
        if (folder / "__init__.py").exists()
    }
}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
# types of parameters are prose ("array of shape (n,)"): nothing to link
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

# pages call the command that belongs to this interpreter, on one core
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")

_LITERAL = re.compile(r"(`+[^`]*`+)")


def setup(app: Sphinx) -> None:
    """Register what is particular to these pages."""
    app.connect("autodoc-process-docstring", tidy_docstring)
    app.connect("autodoc-skip-member", skip_fields)
    app.add_directive("command-help", CommandHelp)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))


class CommandHelp(SphinxDirective):
    """What `sfhflow ARGUMENTS --help` prints."""

    optional_arguments = 10

    def run(self) -> list[nodes.Node]:
        """Resolve the command as the command line does."""
        command, context = typer.main.get_command(command_line), None
        for name in ("sfhflow", *self.arguments):
            command = command if context is None else command.commands[name]  # type: ignore[attr-defined]
            context = command.make_context(name, [], parent=context, resilient_parsing=True, terminal_width=90)
        text = command.get_help(context)
        return [nodes.literal_block(text, text, language="text")]


def tidy_docstring(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of docstrings that are written to be read as they are.

    Indented formulas in the docstring of a module become literal blocks, and bars (as in abs(x)) are no
    substitutions.
    """
    tidied: list[str] = []
    last = ""
    for i, line in enumerate(lines):
        indented, starts = line.startswith(" "), i > 0 and not lines[i - 1].strip()
        if what == "module" and line.strip() and indented and starts and not _opens_block(last):
            tidied += ["::", ""]
            last = "::"
        if line.strip() and not indented:
            last = line
        literal = indented and last.endswith("::")
        tidied.append(line if literal else _without_bars(line))
    lines[:] = tidied


def _opens_block(line: str) -> bool:
    return line.endswith("::") or line.startswith((".. ", "* ", "- "))


def _without_bars(line: str) -> str:
    if line.lstrip().startswith(".. math::"):
        return line
    parts = _LITERAL.split(line)
    return "".join(part if i % 2 else part.replace("|", r"\|") for i, part in enumerate(parts))


def skip_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:  # noqa: FBT001
    """Leave out the members that every named tuple has; its docstring describes them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def inline_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in running text."""
    self.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def display_math(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own."""
    self.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, *, as_block: bool) -> str:
    # what the converter does not know
    tex = node.astext().replace(r"\textstyle", "").replace(r"\dots", r"\ldots")
    tex = re.sub(r"\\(log|det|exp)\s+", r"\\\1\\,", tex)
    try:
        return str(tex2mathml(tex, as_block=as_block))
    except MathError as error:
        raise ExtensionError(f"formula {tex!r} cannot be set: {error}") from error
