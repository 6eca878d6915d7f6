"""What `benchmarks.exactness` found, as a summary, as Markdown, and on the page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.markdown import table
from sfhflow.certificate.trial import NAMES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "exactness.json"
PAGE = ROOT / "docs" / "concepts" / "exact.md"
MARKS = ("<!-- exactness: begin -->", "<!-- exactness: end -->")

LEAST_EFFECTIVE, EVIDENCE_WITHIN = 200, 0.3

Numbers = dict[str, Any]


def summary(galaxies: Sequence[Numbers]) -> Numbers:
    """Medians, percentiles and shares over galaxies; of nested sampling only where it was done."""

    def column(name: str) -> NDArray[np.float64]:
        return np.array([galaxy[name] for galaxy in galaxies if name in galaxy])

    def median(name: str) -> float:
        return float(np.median(column(name)))

    found: Numbers = {
        "galaxies": len(galaxies),
        "snr": [float(column("snr").min()), float(column("snr").max())],
        "amortized_efficiency": median("amortized_efficiency"),
        "efficiency": median("efficiency"),
        "effective": median("effective"),
        "enough_effective": float(np.mean(column("effective") >= LEAST_EFFECTIVE)),
        "good_tails": float(np.mean(column("pareto_k") < 0.7)),
        "evaluation_us": median("evaluation_us"),
        "seconds_amortized": median("seconds_amortized"),
        "seconds_refined": median("seconds_refined"),
        "evaluations": median("evaluations"),
        "jsd_amortized_refined": _spread(column("jsd_amortized_refined")),
    }
    if len(column("jsd_refined")):
        by_nested = [galaxy for galaxy in galaxies if "nested_log_evidence" in galaxy]
        difference = np.array([g["log_evidence"] - g["nested_log_evidence"] for g in by_nested])
        per_quantity = np.median(column("jsd_refined"), axis=0)
        found |= {
            "nested_galaxies": len(by_nested),
            "nested_given_up": sum(not galaxy.get("nested_finished", True) for galaxy in galaxies),
            "nested_calls": median("nested_calls"),
            "nested_effective": median("nested_effective"),
            "seconds_nested": median("seconds_nested"),
            "ratio": float(np.median([g["seconds_nested"] / g["seconds_refined"] for g in by_nested])),
            "jsd_refined": _spread(column("jsd_refined")),
            "jsd_amortized": _spread(column("jsd_amortized")),
            "jsd_refined_per_quantity": dict(zip(NAMES, per_quantity.tolist(), strict=True)),
            "evidence_difference": float(np.median(difference)),
            "evidence_rms": float(np.sqrt(np.mean(difference**2))),
            "evidence_within": float(np.mean(np.abs(difference) < EVIDENCE_WITHIN)),
        }
    return _rounded(found)


def text(record: Numbers) -> str:
    """Markdown."""
    s = record["summary"]
    low, high = s["snr"]
    lines = [
        f"{s['galaxies']} mock galaxies of S/N {low:.0f} to {high:.0f} per pixel, weights `{record['weights']}`, "
        f"at most {record['budget']} likelihoods a galaxy:",
        "",
        *table(
            ("", "measured", "limit", ""),
            [(*cells, "yes" if holds else "**no**") for *cells, holds in rows(s)],
            "lrrl",
        ),
        "",
        f"Of the model's own samples {100 * s['amortized_efficiency']:.1f} % are effective (median); Pareto's k "
        f"of the weights is below 0.7 for {100 * s['good_tails']:.0f} % of the galaxies. Prior and likelihood "
        f"cost {s['evaluation_us']:.0f} microseconds; a refinement as `Posterior.refine` does it (2000 effective "
        f"samples, if the budget allows) {s['evaluations']:.0f} of them and {s['seconds_refined']:.1f} s, the "
        f"unrefined answer {1000 * s['seconds_amortized']:.0f} ms (medians, of one processor).",
    ]
    if "jsd_refined" in s:
        each = ", ".join(f"{name} {value:.4f}" for name, value in s["jsd_refined_per_quantity"].items())
        lines += [
            "",
            f"Nested sampling ({record['live']} live points, {s['nested_galaxies']} galaxies; for "
            f"{s['nested_given_up']} more it was given up as too slow) took "
            f"{s['nested_calls']:.0f} likelihoods and {s['seconds_nested']:.0f} s, **{s['ratio']:.0f} times as "
            f"long as refining**, for {s['nested_effective']:.0f} effective samples. Refined minus nested ln "
            f"evidence is {s['evidence_difference']:+.2f} (median; rms {s['evidence_rms']:.2f}). Median "
            f"divergence of refined marginals: {each}.",
        ]
    return "\n".join([*lines, ""])


def rows(s: Numbers) -> list[tuple[str, str, str, bool]]:
    """Label, what was measured, the limit, and whether it holds."""
    found = [
        ("median efficiency of importance sampling", s["efficiency"], 0.05, "at least", "%"),
        (
            f"galaxies with at least {LEAST_EFFECTIVE} effective samples",
            s["enough_effective"],
            0.9,
            "at least",
            "%",
        ),
    ]
    if "jsd_refined" in s:
        found += [
            ("divergence of refined from nested marginals, median", s["jsd_refined"][0], 0.01, "at most", "nat"),
            ("the same, 95th percentile", s["jsd_refined"][1], 0.05, "at most", "nat"),
            (
                "divergence of unrefined from nested marginals, median",
                s["jsd_amortized"][0],
                0.05,
                "at most",
                "nat",
            ),
            (
                f"ln evidence within {EVIDENCE_WITHIN} of nested sampling's",
                s["evidence_within"],
                0.9,
                "at least",
                "%",
            ),
        ]
    return [
        (
            label,
            f"{100 * value:.1f} %" if unit == "%" else f"{value:.4f} nat",
            f"{way} {100 * limit:.0f} %" if unit == "%" else f"{way} {limit:g} nat",
            value >= limit if way == "at least" else value <= limit,
        )
        for label, value, limit, way, unit in found
    ]


def on_page(page: str, lines: str) -> str:
    """The page with the results in their place."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{lines}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def _spread(values: NDArray[np.float64]) -> list[float]:
    """Median and 95th percentile."""
    return [float(np.median(values)), float(np.quantile(values, 0.95))]


def _rounded(value: Any) -> Any:
    """Five digits are more than mocks can tell."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
