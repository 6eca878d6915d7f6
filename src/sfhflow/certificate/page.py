"""The certificate in Markdown, from its plain form (`Certificate.to_dict`, or the JSON file)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["certificate_page", "certificate_sections"]

Plain = Mapping[str, Any]

_LEVELS = (0.5, 0.68, 0.95)

_BINS = {
    "snr": "Coverage by median signal-to-noise ratio per Angstrom",
    "t50": "Coverage by inferred t50 (posterior median, as a fraction of the age of the Universe)",
    "mh": "Coverage by inferred [M/H] (posterior median)",
    "masked": "Coverage by the share of pixels masked in addition",
}


def certificate_page(certificate: Plain) -> str:
    """Write a certificate as a page of its own."""
    title = f"# Calibration certificate: `{certificate['provenance']['model']}`"
    return "\n".join([title, "", *certificate_sections(certificate)])


def certificate_sections(certificate: Plain) -> list[str]:
    """Lines of a certificate, for a page that is about more."""
    about = certificate["provenance"]
    galaxies = ", ".join(f"{n} {name}" for name, n in about["galaxies"].items())
    verdict = "No criterion failed." if certificate["passed"] else "**Some criteria failed.**"
    lines = [
        f"Printed by `{about['command']}` from simulations that training never used, and reproduced by the same",
        f"command: {galaxies} galaxies, {about['n_samples']} posterior samples each, seed {about['seed']},",
        f"weights `{about['weights'][:12]}`. {verdict}",
        "",
        *_criteria_table(certificate),
        "",
        '"Within noise": exceeded, but by less than three standard errors of the Monte-Carlo test.',
        "",
        f"Held-out log-probability of the truth: {certificate['log_prob']:.3f} ± "
        f"{certificate['log_prob_error']:.3f} nats in the unbounded coordinates.",
        "",
        "### All galaxies",
        "",
        "Times are fractions of the age of the Universe; widths are those of the 68 % interval.",
        "",
        *_quantities_table(certificate),
        "",
    ]
    for kind, title in _BINS.items():
        lines += [f"### {title}", "", *_bins_table(certificate, kind), ""]
    return [
        *lines,
        "### Hardly any signal",
        "",
        "A posterior that learns nothing is as wide as the prior (ratio 1). At a signal-to-noise ratio of 1,",
        "thousands of pixels together still tell a colour.",
        "",
        *_faint_table(certificate),
        "",
    ]


def _criteria_table(certificate: Plain) -> list[str]:
    """Rows of what was demanded and found."""
    rows = (
        [c["statement"], _number(c["value"]), _number(c["limit"]), c["where"], c["outcome"]]
        for c in certificate["criteria"]
    )
    return _table(["criterion", "found", "limit", "where", "outcome"], rows)


def _quantities_table(certificate: Plain) -> list[str]:
    """Rows of the headline quantities over all galaxies."""
    names = list(certificate["quantities"])
    columns = {
        "R2 of the mean": ("r2", ".3f"),
        "bias of the mean": ("bias", "+.4f"),
        "median width": ("width", ".3f"),
        "width of the prior": ("prior_width", ".3f"),
        "information [bits]": ("information_bits", ".2f"),
        "p of ranks": ("rank_p_value", ".2g"),
        "p of widths": ("width_p_value", ".2g"),
    }
    rows = (
        [label, *(_number(certificate["quantities"][name][key], style) for name in names)]
        for label, (key, style) in columns.items()
    )
    return _table(["", *names], rows)


def _bins_table(certificate: Plain, kind: str) -> list[str]:
    """Rows of coverage (per cent of true values inside the central interval), widths and R2 in bins.

    R2 is left out where bins are in what is inferred: it measures against the scatter inside the bin.
    """
    names = list(certificate["quantities"])
    rows = []
    for one in (b for b in certificate["local"][kind] if b["n_galaxies"]):
        for level in _LEVELS:
            values = one["coverage"][certificate["levels"].index(level)]
            rows.append([_label(one), f"{100 * level:.0f} %", *(_number(100 * v, ".1f") for v in values)])
        rows.append([_label(one), "width", *(_number(v, ".3f") for v in one["width"])])
        if kind in ("snr", "masked"):
            rows.append([_label(one), "R2", *(_number(v, ".3f") for v in one["r2"])])
    return _table(["galaxies", "", *names], rows)


def _faint_table(certificate: Plain) -> list[str]:
    names = list(certificate["quantities"])
    prior = [certificate["quantities"][name]["prior_width"] for name in names]
    rows = []
    for one in (b for b in certificate["faint"] if b["n_galaxies"]):
        ratios = (width / scale for width, scale in zip(one["width"], prior, strict=True))
        rows.append([_label(one), "width / prior's", *(_number(v, ".2f") for v in ratios)])
        rows.append([_label(one), "bits", *(_number(v, ".2f") for v in one["information_bits"])])
        values = one["coverage"][certificate["levels"].index(0.68)]
        rows.append([_label(one), "68 %", *(_number(100 * v, ".1f") for v in values)])
    return _table(["S/N", "", *names], rows)


def _label(one: Plain) -> str:
    return f"{one['label']} ({one['n_galaxies']})"


def _number(value: float | None, style: str = ".3g") -> str:
    return "" if value is None else format(value, style)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
