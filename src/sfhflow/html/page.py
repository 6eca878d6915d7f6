"""Pages from templates: the report of a galaxy, the index of many, and the parts that the web page shows.

A page is text, which the templates escape whatever it holds (names of files, values of headers), and figures,
which are JSON that Bokeh's script turns into drawings.  The content security policy of a report lets only the two
scripts run that are inside it, by their SHA-256, and lets nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import metadata, resources
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from sfhflow.curves import Predictive
from sfhflow.extras import optional
from sfhflow.html.canvas import script_path
from sfhflow.html.histories import assembly_item, comparison_item, quantity_item, rate_item
from sfhflow.html.spectra import spectrum_item
from sfhflow.html.words import CITATIONS, QUANTITIES, provenance
from sfhflow.posterior import Posterior
from sfhflow.report import file_stem, table_rows, whole_file
from sfhflow.verdict import REASONS

__all__ = [
    "Headline",
    "Part",
    "asset_path",
    "comparison",
    "headline",
    "render",
    "report_page",
    "result",
    "write_index",
    "write_report",
]

_HEADLINE = ("t50", "t90", "age_mw", "mh", "a_v", "sigma")
_DISTRIBUTIONS = ("mh", "a_v", "sigma")
_ASSETS = ("app.css", "app.js", "figures.js", "style.css")
_POLICY = "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data: blob:"


class Part(NamedTuple):
    """Part of a page.

    Attributes
    ----------
    html : str
        Text, with an element ``data-figure="NAME"`` for each figure.
    figures : dict
        The figures, as JSON items by name.
    """

    html: str
    figures: dict[str, dict[str, Any]]


class Headline(NamedTuple):
    """A galaxy in one line of a table.

    Attributes
    ----------
    name : str
        Name of the spectrum.
    file : str
        File of its report.
    redshift, snr : float
        Redshift, and signal-to-noise ratio per pixel.
    ok : bool
        The verdict.
    verdict : str
        The verdict in words.
    rows : tuple
        Name, median, 68 and 95 % interval and unit of the main quantities.
    """

    name: str
    file: str
    redshift: float
    snr: float
    ok: bool
    verdict: str
    rows: tuple[tuple[str, str, str, str, str], ...]


def render(template: str, **values: Any) -> str:
    """Fill in a template; every value is escaped.

    Raises
    ------
    InputError
        If the extra ``web`` is not installed.
    """
    text: str = _environment().get_template(template).render(**values)
    return text


def result(posterior: Posterior, predictive: Predictive | None = None, *, version: str | None = None) -> Part:
    """Make everything there is to see of one galaxy.

    Parameters
    ----------
    posterior : Posterior
        Samples of the galaxy.
    predictive : Predictive, optional
        Model spectra.
    version : str, optional
        Version of the software; by default that of the installed package.
    """
    version = metadata.version("sfhflow") if version is None else version
    figures = {
        "spectrum": spectrum_item(posterior, predictive),
        "assembly": assembly_item(posterior),
        "rate": rate_item(posterior),
        **{name: quantity_item(posterior, name, QUANTITIES[name].label) for name in _DISTRIBUTIONS},
    }
    html = render(
        "result.html",
        line=headline(posterior),
        prior=posterior.spectrum.meta.get("prior", ""),
        rows=table_rows(posterior),
        quantities=QUANTITIES,
        distributions=_DISTRIBUTIONS,
        scores=[(name, REASONS.get(name, ""), score) for name, score in posterior.verdict.scores.items()],
        provenance=provenance(posterior, version),
        citations=CITATIONS,
    )
    return Part(html, figures)


def comparison(posteriors: Sequence[Posterior]) -> Part:
    """Make the table and the figure of several galaxies side by side."""
    lines = [headline(posterior) for posterior in posteriors]
    html = render("comparison.html", lines=lines, quantities=QUANTITIES)
    return Part(html, {"comparison": comparison_item(posteriors)})


def report_page(posterior: Posterior, predictive: Predictive | None = None, *, version: str | None = None) -> str:
    """Return the self-contained page of one galaxy; parameters as for `result`."""
    return _whole_page("report.html", posterior.spectrum.name, result(posterior, predictive, version=version))


def write_report(
    posterior: Posterior,
    directory: str | PathLike[str],
    predictive: Predictive | None = None,
    *,
    version: str | None = None,
) -> Path:
    """Write the self-contained page NAME.html, where NAME is the name of the spectrum.

    Parameters
    ----------
    posterior, predictive, version
        As for `result`.
    directory : str or path
        Where to write; made if missing.

    Raises
    ------
    InputError
        If the extra ``web`` is not installed, or the file cannot be written.
    """
    return _write(Path(directory) / _file_name(posterior), report_page(posterior, predictive, version=version))


def write_index(lines: Sequence[Headline], directory: str | PathLike[str]) -> Path:
    """Write index.html, which lists galaxies and links to their reports.

    Parameters
    ----------
    lines : sequence of Headline
        One for each galaxy, from `headline`.
    directory : str or path
        Folder of the reports.
    """
    page = _whole_page("index.html", "Galaxies", Part("", {}), lines=lines, quantities=QUANTITIES)
    return _write(Path(directory) / "index.html", page)


def headline(posterior: Posterior) -> Headline:
    """Sum a galaxy up for a line of a table."""
    data, verdict = posterior.spectrum, posterior.verdict
    rows = {row[0]: row for row in table_rows(posterior)}
    main = tuple(rows[name] for name in _HEADLINE)
    return Headline(data.name, _file_name(posterior), data.redshift, data.snr, verdict.ok, verdict.text, main)


def asset_path(name: str) -> Path | None:
    """File of a style sheet or script of the web page, or None if it has none of that name."""
    if name == "bokeh.min.js":
        return script_path()
    return Path(str(resources.files("sfhflow.html") / "assets" / name)) if name in _ASSETS else None


def _file_name(posterior: Posterior) -> str:
    stem = file_stem(posterior)
    # index.html is that of the folder
    return f"{stem}_.html" if stem.lower() == "index" else f"{stem}.html"


def _write(path: Path, text: str) -> Path:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _whole_page(template: str, title: str, part: Part, **values: Any) -> str:
    """Fill in the template of a page that carries its style and its scripts."""
    markup = optional("markupsafe", extra="web").Markup
    scripts = [script_path().read_text(encoding="utf-8"), _asset("figures.js")] if part.figures else []
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    return render(
        template,
        title=title,
        policy=_POLICY.format(hashes),
        style=markup(_asset("style.css")),
        scripts=[markup(script) for script in scripts],
        content=markup(part.html),
        figures=part.figures,
        version=metadata.version("sfhflow"),
        **values,
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    return str((resources.files("sfhflow.html") / "assets" / name).read_text(encoding="utf-8"))


@cache
def _environment() -> Any:
    jinja2 = optional("jinja2", extra="web")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sfhflow.html", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # the JSON of a figure refers to what came before
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment
