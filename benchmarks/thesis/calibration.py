"""Stage: calibration of our answers (thesis figure 15): pooled coverage, ranks (SBC), random points (TARP).

The numbers are those that the stages `ours` and `noise` have measured on the test spectra of continuous [M/H],
which are draws from the prior that the answers were trained on.
"""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import table
from benchmarks.thesis.context import Context
from benchmarks.thesis.measure import FEW, LEVELS, calibration_figure

__all__ = ["run", "section"]

_TITLES = {
    "full": "noise-free, full range",
    "stack": "noise-free, stack configuration",
    "snr100": "S/N 100",
    "snr30": "S/N 30",
    "snr10": "S/N 10",
}
_FEW_TESTS = {"sbc_p": "2g", "tarp_largest": "3f", "tarp_half_width": "3f"}
# asked: p of the ranks, and how far the pooled coverage may be off
P_VALUE, TOLERANCE = 0.01, 0.015


def run(context: Context) -> dict[str, Any]:
    """Collect, draw, judge."""
    ours, noise = context.result("ours"), context.result("noise")
    summaries = {name: ours[name]["continuous"] for name in ("full", "stack")}
    summaries |= {name: noise[name]["test"] for name in ("snr100", "snr30", "snr10")}
    for name in ("full", "snr30"):
        calibration_figure(summaries[name]).savefig(context.figure(f"calibration-{name}"))
    return {name: _judged(summary) for name, summary in summaries.items()}


def _judged(summary: dict[str, Any]) -> dict[str, Any]:
    worst = max((value - float(level) for level, value in summary["coverage"].items()), key=abs)
    tarp, few = summary["tarp"], summary["few"]
    return {
        "n": summary["n"],
        "sbc_p": summary["sbc_p"],
        "coverage": summary["coverage"],
        "largest_coverage_error": round(worst, 4),
        "tarp_largest": tarp["largest"],
        "tarp_half_width": tarp["half_width"],
        "few": few,
        "passes": {
            "sbc": summary["sbc_p"] > P_VALUE,
            "coverage": abs(worst) <= TOLERANCE,
            "tarp": tarp["largest"] <= tarp["half_width"],
            "sbc_few": few["sbc_p"] > P_VALUE,
            "tarp_few": few["tarp_largest"] <= few["tarp_half_width"],
        },
    }


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    names = [name for name in _TITLES if name in result]
    lines = [
        f"Of {result[names[0]]['n']:,} test spectra each, all ten quantities. Coverage is pooled over them; p is "
        "that of the ranks of the ten (Kolmogorov-Smirnov, times ten), TARP the largest difference between "
        "expected and nominal coverage of the joint posterior, beside the half width of its bootstrap band. With "
        "so many spectra these tests see miscalibrations far smaller than the tolerance of the coverage; so both "
        f"are also given for the first {FEW:,} alone.",
        "",
    ]
    rows = []
    for name in names:
        row = result[name]
        inside = [f"{100 * value:.1f}" for value in row["coverage"].values()]
        tests = [
            *(f"{row['sbc_p']:.2g}", f"{row['tarp_largest']:.3f}", f"{row['tarp_half_width']:.3f}"),
            *(f"{row['few'][key]:.{digits}}" for key, digits in _FEW_TESTS.items()),
        ]
        rows.append([_TITLES[name], *inside, "yes" if row["passes"]["coverage"] else "no", *tests])
    titles = ["answer", *(f"in {100 * level:g} %" for level in LEVELS), "within 1.5", "p", "TARP", "band"]
    titles += [f"p, {FEW}", f"TARP, {FEW}", "band"]
    return [
        *lines,
        *table(titles, rows, "l" + "r" * len(LEVELS) + "l" + "r" * 6),
        "",
        "![Coverage, noise-free](figures/calibration-full.png)",
        "",
        "![Coverage at S/N 30](figures/calibration-snr30.png)",
    ]
