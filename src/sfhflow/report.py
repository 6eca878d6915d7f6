"""What a fit leaves behind: a JSON summary, a Parquet file of samples, a figure, and a table for the terminal.

Summaries are quantiles of the samples (`sfhflow.summaries`): the median and the central 68 and 95 % intervals.
Undefined ones are null.  Files appear whole or not at all: they are written
under another name and then renamed.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sfhflow.derived import all_columns
from sfhflow.information import PRIOR_DOMINATED
from sfhflow.parquet import Column, whole_file, write_table
from sfhflow.photometry import distance_mpc
from sfhflow.plots import Predictive, summary_figure
from sfhflow.posterior import HEADLINE, QUANTILES, Posterior
from sfhflow.summaries import Summary, summarise

__all__ = [
    "file_stem",
    "intervals",
    "json_line",
    "summary_dict",
    "table_rows",
    "text_table",
    "whole_file",
    "write_json",
    "write_outputs",
    "write_parquet",
]

UNKNOWN_RESOLUTION = (
    "the resolution of the spectrum is not known: the result is marginalised over the resolutions the model was "
    "trained for"
)

UNMASKED_LINES = "the windows of the emission lines were kept in the fit"

_DECIMALS = {"km/s": 0, "": 3}

Row = tuple[str, str, str, str, str]


def summary_dict(posterior: Posterior, *, version: str) -> dict[str, Any]:
    """Summary of a posterior, made of what JSON can hold.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    version : str
        Version of the software.

    Returns
    -------
    dict
        Every inferred and derived quantity by name with ``median``, ``p16``, ``p84``, ``p2_5``, ``p97_5`` (None
        if undefined) and ``unit``; and ``p_quiescent`` (probability that the galaxy is quiescent), ``verdict``,
        ``model``, ``version``, ``input``, ``redshift``, ``n_samples``, ``seed``, ``age_of_universe_gyr``,
        ``distance_mpc`` (luminosity distance, None if unknown), ``snr`` (median per pixel), ``resolution``
        (median lambda / FWHM, or "unknown"), ``information`` (by name of an inferred quantity, ``bits`` that the
        spectrum added to the prior and whether it is ``prior_dominated``; empty if the prior is not known) and
        ``notes``; for refined posteriors also ``refinement`` (the fields of `sfhflow.posterior.Refinement`).
    """
    summary = summarise(posterior)
    provenance = _provenance(posterior, version)
    return {**_intervals(summary), "p_quiescent": float(summary.p_quiescent), **provenance}


def intervals(posterior: Posterior) -> dict[str, dict[str, float | str | None]]:
    """Quantiles and unit of every inferred and derived quantity, by name; None where undefined."""
    return _intervals(summarise(posterior))


def json_line(posterior: Posterior, *, version: str | None = None) -> str:
    """Return `summary_dict`, preceded by the ``name`` of the spectrum, as one line of JSON."""
    summary = {"name": posterior.spectrum.name, **summary_dict(posterior, version=_version(version))}
    return json.dumps(summary, allow_nan=False, ensure_ascii=False)


def write_json(posterior: Posterior, path: str | os.PathLike[str], *, version: str) -> None:
    """Write `summary_dict` as a JSON object.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    text = json.dumps(summary_dict(posterior, version=version), indent=2, allow_nan=False, ensure_ascii=False)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_parquet(posterior: Posterior, path: str | os.PathLike[str], *, version: str) -> None:
    """Write the samples as a table with one column a quantity and one row a sample.

    The unit of a column is in the metadata of its field under ``unit``; everything of the summary but the
    quantities is JSON in the metadata of the schema under ``sfhflow``.  Undefined values are null.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    path : str or path
        File to write.
    version : str
        Version of the software.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    columns = {name: Column(samples, unit=unit) for name, (samples, unit) in all_columns(posterior).items()}
    provenance = json.dumps(_provenance(posterior, version), allow_nan=False)
    write_table(path, columns, metadata={"sfhflow": provenance})


def text_table(posterior: Posterior) -> str:
    """Return a short summary for a terminal: every quantity with its intervals, and the verdict in words."""
    data = posterior.spectrum
    resolution = _resolution(posterior)
    resolving = resolution if isinstance(resolution, str) else f"{resolution:.0f}"
    rows = [("quantity", "median", "68 %", "95 %", "unit"), *table_rows(posterior)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{data.name}: z = {data.redshift:.5f}, S/N = {data.snr:.1f} per pixel, resolution {resolving}",
        f"model {posterior.model}, {len(posterior)} samples, seed {posterior.seed}",
        "",
        *(_aligned(row, widths) for row in rows),
        "",
        *(f"Note: {note}." for note in _notes(posterior)),
        *_refined(posterior),
        posterior.verdict.text,
    ]
    return "\n".join(lines)


def _refined(posterior: Posterior) -> list[str]:
    r = posterior.refinement
    if r is None:
        return []
    return [
        f"Refined with the true likelihood: {r.effective:.0f} effective of {r.n_evaluations} samples "
        f"by {r.method}, ln evidence {r.log_evidence:.2f} +- {r.log_evidence_error:.2f}."
    ]


def table_rows(posterior: Posterior) -> list[Row]:
    """Name, median, 68 and 95 % intervals and unit of every quantity, rounded for reading."""
    return [_row(name, quantity) for name, quantity in intervals(posterior).items()]


def file_stem(posterior: Posterior) -> str:
    """Name of the spectrum as a file's stem: it must not lead out of a folder."""
    return posterior.spectrum.name.replace("/", "_").replace(os.sep, "_")


def write_outputs(
    posterior: Posterior,
    directory: str | os.PathLike[str],
    predictive: Predictive | None = None,
    *,
    version: str | None = None,
) -> list[Path]:
    """Write NAME.json, NAME.parquet and NAME.png, where NAME is the name of the spectrum.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    directory : str or path
        Where to write; made if missing.
    predictive : Predictive, optional
        Model spectra for the figure.
    version : str, optional
        Version of the software; by default that of the installed package.

    Returns
    -------
    list of Path
        The three files.

    Raises
    ------
    ConfigError
        If the files cannot be written.
    """
    version = _version(version)
    name = file_stem(posterior)
    summary, samples, figure = (Path(directory) / f"{name}.{kind}" for kind in ("json", "parquet", "png"))
    write_json(posterior, summary, version=version)
    write_parquet(posterior, samples, version=version)
    with whole_file(figure) as temporary:
        summary_figure(posterior, predictive).savefig(temporary, format="png")
    return [summary, samples, figure]


def _version(version: str | None) -> str:
    return metadata.version("sfhflow") if version is None else version


def _intervals(summary: Summary) -> dict[str, dict[str, float | str | None]]:
    return {
        name: {**dict(zip(QUANTILES, map(_number, row), strict=True)), "unit": unit}
        for row, (name, unit) in zip(summary.quantiles, summary.units.items(), strict=True)
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _provenance(posterior: Posterior, version: str) -> dict[str, Any]:
    data, verdict = posterior.spectrum, posterior.verdict
    return {
        "verdict": {
            "ok": verdict.ok,
            "reasons": list(verdict.reasons),
            "scores": {name: _number(score) for name, score in verdict.scores.items()},
        },
        "model": posterior.model,
        "version": version,
        "input": data.meta.get("file", data.name),
        "redshift": data.redshift,
        "n_samples": len(posterior),
        "seed": posterior.seed,
        "age_of_universe_gyr": posterior.age_of_universe,
        "distance_mpc": distance_mpc(data),
        "snr": data.snr,
        "resolution": _resolution(posterior),
        "information": {
            name: {"bits": round(bits, 3), "prior_dominated": bits < PRIOR_DOMINATED}
            for name, bits in posterior.information().items()
        },
        "notes": _notes(posterior),
        **_refinement(posterior),
    }


def _refinement(posterior: Posterior) -> dict[str, Any]:
    if posterior.refinement is None:
        return {}
    fields = asdict(posterior.refinement)
    return {"refinement": {key: _number(v) if isinstance(v, float) else v for key, v in fields.items()}}


def _resolution(posterior: Posterior) -> float | str:
    data = posterior.spectrum
    return "unknown" if data.resolution is None else float(np.median(data.resolution[~data.mask]))


def _notes(posterior: Posterior) -> list[str]:
    data = posterior.spectrum
    notes = [UNKNOWN_RESOLUTION] if data.resolution is None else []
    notes += [] if posterior.lines_masked else [UNMASKED_LINES]
    bits = posterior.information()
    if dominated := [name for name in HEADLINE if bits.get(name, math.inf) < PRIOR_DOMINATED]:
        notes.append(f"prior-dominated (the spectrum says little about them): {', '.join(dominated)}")
    said = {"masked": "masked by hand", "errors": "errors", "prior": "prior"}
    return [*notes, *(f"{words}: {data.meta[key]}" for key, words in said.items() if key in data.meta)]


def _row(name: str, quantity: dict[str, float | str | None]) -> Row:
    unit = str(quantity["unit"])
    decimals = _DECIMALS.get(unit, 2)
    # "z" writes a rounded negative zero without its sign
    q = {key: f"{value:z.{decimals}f}" if isinstance(value, float) else "-" for key, value in quantity.items()}
    return name, q["median"], _span(q["p16"], q["p84"]), _span(q["p2_5"], q["p97_5"]), unit


def _span(low: str, high: str) -> str:
    return "-" if low == high == "-" else f"{low} ... {high}"


def _aligned(row: Row, widths: list[int]) -> str:
    """Name and unit to the left, numbers to the right of their columns."""
    numbers = [text.rjust(width) for text, width in zip(row[1:4], widths[1:4], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers, row[4]]).rstrip()
