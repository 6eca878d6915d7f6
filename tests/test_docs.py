"""README and documentation: commands that exist, examples that run, links that lead somewhere, a clean build."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import typer
from benchmarks.speed import page as speed

import sfhflow
import toy
from sfhflow.cli import app
from sfhflow.derived import all_columns
from sfhflow.verdict import REASONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SHELL = ("", "bash", "sh", "shell", "console")

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not part of this installation")

_BLOCK = re.compile(
    r"^(?P<fence>`{3,})[ \t]*(?P<kind>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[tuple[str, str]]:
    """Kind and body of all fenced blocks."""
    return [(match["kind"].strip(), match["body"]) for match in _BLOCK.finditer(text)]


def commands(text: str) -> list[list[str]]:
    """Words of all `sfhflow` commands in shell blocks and in code cells."""
    lines: list[str] = []
    for kind, body in blocks(text):
        body = body.replace("\\\n", " ")
        if kind in SHELL:
            lines += [line.strip().removeprefix("$ ") for line in body.splitlines()]
        elif kind.startswith("{code-cell}"):
            lines += [line.strip()[1:] for line in body.splitlines() if line.strip().startswith("!")]
    words = [shlex.split(re.split(r"\||\d?>", line)[0], comments=True) for line in lines]
    return [line for line in words if line and Path(line[0]).name == "sfhflow"]


def parse(words: list[str]) -> None:
    """Resolve subcommands and parse their options as the command line does, without running anything."""
    name, *arguments = words
    command = typer.main.get_command(app)
    if arguments[0].startswith("-"):
        # options in place of a command, as `sfhflow --version`
        assert arguments[0] in {option for parameter in command.params for option in parameter.opts} | {"--help"}
        return
    while hasattr(command, "commands"):
        context = command.make_context(name, [], resilient_parsing=True)
        _, command, rest = command.resolve_command(context, arguments)
        assert command is not None, f"No such command: {arguments[0]}"
        name, arguments = arguments[0], rest
    command.make_context(name, list(arguments))


def test_the_page_on_speed_is_what_the_results_of_the_benchmarks_say():
    assert (DOCS / "speed.md").read_text() == speed.page() + "\n"


ALL_COMMANDS = sorted({(name_of(page), tuple(line)) for page in PAGES for line in commands(page.read_text())})


@pytest.mark.parametrize(
    ("page", "words"), ALL_COMMANDS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_command_in_the_documentation_exists(page, words):
    parse(list(words))


def test_commands_are_found_and_wrong_ones_are_noticed():
    shell = "```bash\nsfhflow fit a.fits \\\n  --redshift 0.1  # why\n```\n\n"
    text = shell + "```{code-cell}\n!sfhflow ssp list | head\n```\n"
    assert commands(text) == [["sfhflow", "fit", "a.fits", "--redshift", "0.1"], ["sfhflow", "ssp", "list"]]
    assert len(ALL_COMMANDS) > 10
    mistakes = {"fits a.fits": "No such command", "fit a.fits --redsift 0.1": "No such option"}
    mistakes |= {"fit a.fits --samples many": "integer", "fit": "(?i)files"}
    for wrong, message in mistakes.items():
        with pytest.raises(Exception, match=message):
            parse(["sfhflow", *wrong.split()])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_and_headings_resolve(page):
    text = re.sub(_BLOCK, "", page.read_text())
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked.read_text()), target


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them, and its explicit targets."""
    headings = re.findall(r"^#+ (.*)$", re.sub(_BLOCK, "", text), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


def test_the_python_of_the_readme_runs():
    """With the spectrum of the toy in place of the file, and the toy in place of the model."""
    codes = [body for kind, body in blocks(README.read_text()) if kind == "python"]
    assert codes
    spectrum, model = toy.spectra(1)[0], toy.model()
    for code in codes:
        with (
            mock.patch.object(sfhflow, "read_spectrum", return_value=spectrum) as read,
            mock.patch.object(sfhflow, "load_model", return_value=model),
        ):
            scope: dict[str, object] = {}
            exec(compile(code, "README.md", "exec"), scope)
        read.assert_called()
        posterior = scope["posterior"]
        assert isinstance(posterior, sfhflow.Posterior)
        # the shapes that the comments state
        for name, shape in re.findall(r"^posterior\.(\w+)\s+# \((\d+[^)]*)\)", code, re.MULTILINE):
            stated = tuple(int(number) for number in shape.split(",") if number.strip())
            assert getattr(posterior, name).shape == stated


def test_the_table_of_quantities_names_them_all():
    text = (DOCS / "quantities.md").read_text()
    rows = re.findall(r"^\|\s*(`[^|]*)\|([^|]*)\|", text, re.MULTILINE)
    stated = {name: unit.strip() for names, unit in rows for name in re.findall(r"`(\w+)`", names)}
    columns = all_columns(toy.model().infer(toy.spectra(1)[0], n_samples=20))
    expected = {name: unit for name, (_, unit) in columns.items()}
    # the row `t10` ... `t90` stands for those in between
    assert {**{f"t{k}0": "Gyr" for k in range(1, 10)}, **stated} == expected


def test_the_reasons_that_pages_explain_exist():
    for page in DOCS.rglob("*.md"):
        named = set(re.findall(r"\*\*`(\w+)`\*\*:", page.read_text()))
        if page.name == "verdict.md":
            assert named
            assert named <= set(REASONS)


def test_every_module_has_a_page_in_the_reference():
    listed = set(re.findall(r"^   (sfhflow\.\w+)$", (DOCS / "reference" / "index.md").read_text(), re.MULTILINE))
    package = Path(sfhflow.__file__).parent
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert {f"sfhflow.{name}" for name in modules if not name.startswith("_")} == listed


def test_every_command_has_its_help_in_the_reference():
    text = (DOCS / "reference" / "commands.md").read_text()
    listed = re.findall(r"^```\{command-help\} ([a-z ]+)$", text, re.MULTILINE)
    commands = typer.main.get_command(app).commands
    names = {name for name in commands if not hasattr(commands[name], "commands")}
    assert sorted(listed) == sorted(names | {f"ssp {name}" for name in commands["ssp"].commands})


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    missing = [name for name in ("sphinx", "furo", "myst_nb") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: it is in the dependency group docs")
    # a copy: the reference is generated beside its sources
    source = shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "generated"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", source, tmp_path / "html"]
    built = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    page = (tmp_path / "html" / "concepts" / "method.html").read_text()
    assert "<math" in page
    assert (tmp_path / "html" / "reference" / "generated" / "sfhflow.posterior.html").exists()
