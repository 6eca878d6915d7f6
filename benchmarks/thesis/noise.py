"""Stage: our answer with white noise of S/N 100, 30 and 10 a pixel, beside the best that any method can do.

A network is trained at each level of noise.  The best possible are the medians of posteriors from the true
likelihood (`benchmarks.thesis.best`), for the same noisy spectra; that they are exact is checked by the coverage
of their own intervals, how well they are known by the effective number of samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.markdown import table
from benchmarks.thesis.answer import Answer
from benchmarks.thesis.best import Forward, Posteriors, Proposal, sample
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import NAMES, Dataset
from benchmarks.thesis.measure import LEVELS, measure, r2_row
from benchmarks.thesis.ours import CASES, SHOWN, trained
from sfhflow.plots.style import axes_or_new, finish, legend, line_style

__all__ = ["run", "section"]

LEVELS_OF_NOISE = {"snr100": 100, "snr30": 30, "snr10": 10}
_LABELS = {"mh": "[M/H]"}


def run(context: Context) -> dict[str, Any]:
    """Train, test, compare; a level that is in the run folder is not done again."""
    result: dict[str, Any] = {}
    for case, snr in LEVELS_OF_NOISE.items():
        result[case] = {"snr": snr, **_level(context, case)}
    ax = axes_or_new(None)
    for k, name in enumerate(SHOWN):
        for kind, marker in (("ours", "o"), ("best", "_")):
            scores = [result[case][kind]["r2"][name] for case in result]
            line = ":" if kind == "best" else "-"
            ax.plot(
                list(LEVELS_OF_NOISE.values()), scores, line, marker=marker, ms=4, lw=1, color=line_style(k)[0],
                label=_LABELS.get(name, name) if kind == "ours" else None,
            )  # fmt: skip
    ax.set(xscale="log", ylim=(None, 1.01))
    legend(ax, loc="lower right")
    finish(ax, "S/N per pixel", "$R^2$: ours (dots), best (dotted)")
    ax.figure.savefig(context.figure("noise-r2"))
    return result


def _level(context: Context, case: str) -> dict[str, Any]:
    data = context.dataset("continuous", CASES[case][0])
    answer, record = trained(context, case)
    n_samples = context.size(500, 200)
    found = measure(answer, data, data.test, n_samples=n_samples, seed=context.seed)
    exact, ours, truth = _compared(context, case, answer, data)
    return {
        "minutes": record["minutes"],
        "cpu_minutes": record["cpu_minutes"],
        "test": found.summary(),
        "n_compared": len(truth),
        "ours": {"r2": r2_row(ours, truth)},
        "best": {
            "r2": r2_row(_medians(exact.quantities), truth),
            "coverage": _coverage(exact, truth),
            "effective_samples": dict(
                zip(
                    ("5 %", "50 %"),
                    np.quantile(exact.effective.numpy(), [0.05, 0.5]).round(1).tolist(),
                    strict=True,
                )
            ),
        },
        "spread_of_difference": _spread(ours, _medians(exact.quantities), truth),
    }


def _compared(
    context: Context, case: str, answer: Answer, data: Dataset
) -> tuple[Posteriors, NDArray[np.float64], NDArray[np.float64]]:
    """Exact posteriors of the first test spectra, our medians and the truth."""
    noise = CASES[case][1]
    n, n_samples = context.size(200, 16, 8), context.size(1000, 500, 100)
    rows = slice(data.test.start, data.test.start + n)
    generator = torch.Generator().manual_seed(context.seed + 31)
    observed = data.coefficients[rows]
    observed = observed + noise * torch.randn(observed.shape, generator=generator)
    path = context.file(f"best-{case}.safetensors")
    if not path.exists():
        torch.manual_seed(context.seed)
        proposal = Proposal(answer)
        proposal.fit(data, epochs=context.size(6, 2, 1), seed=context.seed)
        size = {"n_samples": n_samples, "budget": context.size(4000, 2000, 500), "wanted": 500.0}
        exact = sample(proposal, Forward(data, context.library()), observed, noise, generator=generator, **size)
        save_file({name: getattr(exact, name).contiguous() for name in ("quantities", "effective")}, path)
    exact = Posteriors(**load_file(path))
    samples = torch.cat(list(answer.sample(answer.features(observed), n_samples, seed=context.seed)))
    return exact, _medians(samples), data.truth[rows].double().numpy()


def _medians(samples: Tensor) -> NDArray[np.float64]:
    """Medians (S, 10) of samples (S, P, 10)."""
    # an even number of samples has no middle one: the mean of both
    return samples.double().quantile(0.5, dim=1).numpy()


def _coverage(exact: Posteriors, truth: NDArray[np.float64]) -> dict[str, float]:
    """How often central intervals of the samples hold the truth, over all quantities."""
    rank = (exact.quantities < torch.as_tensor(truth)[:, None]).double().mean(1).numpy()
    return {f"{level:g}": float((np.abs(2 * rank - 1) <= level).mean().round(4)) for level in LEVELS}


def _spread(
    ours: NDArray[np.float64], best: NDArray[np.float64], truth: NDArray[np.float64], n: int = 500
) -> dict[str, float]:
    """Standard deviation of R2(best) - R2(ours) over bootstraps of the spectra: how far chance may take it."""
    rng = np.random.default_rng(0)
    rows = (rng.integers(len(truth), size=len(truth)) for _ in range(n))
    differences = [
        [r2_row(best[row], truth[row])[name] - r2_row(ours[row], truth[row])[name] for name in NAMES]
        for row in rows
    ]
    return dict(zip(NAMES, np.std(differences, axis=0).round(4).tolist(), strict=True))


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    levels = [name for name in LEVELS_OF_NOISE if name in result]
    first = result[levels[0]]
    lines = [
        f"White noise on every pixel. R2 of our medians and of the best possible for the same "
        f"{first['n_compared']} spectra, and of ours for {first['test']['n']:,}.",
        "",
    ]
    rows: list[list[str]] = []
    for name in levels:
        row = result[name]
        gap = [row["best"]["r2"][key] - row["ours"]["r2"][key] for key in SHOWN]
        error = [row["spread_of_difference"][key] for key in SHOWN]
        rows += [
            [str(row["snr"]), "best possible", *_row(row["best"]["r2"])],
            ["", "ours, same spectra", *_row(row["ours"]["r2"])],
            ["", "difference", *(f"{g:+.3f} ± {e:.3f}" for g, e in zip(gap, error, strict=True))],
            ["", "ours, all", *_row(row["test"]["r2"])],
        ]
    quality = "; ".join(
        f"S/N {result[name]['snr']}: {result[name]['best']['effective_samples']['50 %']:.0f} (median) and "
        f"{result[name]['best']['effective_samples']['5 %']:.1f} (at 5 % of the spectra)"
        for name in levels
    )
    inside = "; ".join(
        f"S/N {result[name]['snr']}: "
        + ", ".join(
            f"{100 * value:.1f} at {100 * float(at):.0f}" for at, value in result[name]["best"]["coverage"].items()
        )
        for name in levels
    )
    return [
        *lines,
        *table(["S/N", "", *SHOWN], rows, "rl" + "r" * len(SHOWN)),
        "",
        f"Effective samples of the exact posteriors: {quality}. Their intervals hold the truth in (%) {inside}. "
        "Where few are effective and the intervals hold too few, the best possible is not known so well.",
        "",
        "![R2 with noise](figures/noise-r2.png)",
    ]


def _row(scores: dict[str, float]) -> list[str]:
    return [f"{scores[name]:.3f}" for name in SHOWN]
