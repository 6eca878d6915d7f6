"""Stage: the observed stacks (thesis section 4.3, figures 16 to 18, table 2).

Three answers are given for every stack.  The noise-free one is the thesis' own experiment: trained on perfect
spectra, it is asked about real ones, which lie far outside of all that it has seen.  The second was trained on the
same spectra with noise of S/N 100, so that it does not look at what is finer than that.  The third is the shipped
model, trained on imperfect spectra (`sfhflow.load_model("default")`), which is given the stack as it was observed.
They are judged by the spectra that are rebuilt from them with the thesis' library, beside pPXF where installed.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.markdown import table
from benchmarks.thesis import with_ppxf
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, NAMES
from benchmarks.thesis.library import View
from benchmarks.thesis.observed import Stack, from_history, from_nine, read_stacks, residual
from benchmarks.thesis.ours import trained
from sfhflow import Posterior, load_model, plots, read_spectrum
from sfhflow.parameters import FRACTIONS
from sfhflow.plots.style import COLUMN_INCHES, finish, legend, line_style, new_figure
from sfhflow.sfh.quantile import history_from_times

__all__ = ["run", "section"]

Array = NDArray[np.float64]
SHOWN = ("t10", "t50", "t90", "mh")
# resolving power of SDSS, which the files of the stacks do not state
RESOLUTION = 1850.0
TARGET = 0.01
_REBUILT = 200


def run(context: Context) -> dict[str, Any]:
    """Infer, rebuild, compare, draw."""
    stacks = read_stacks(context.data / "stacks")
    if not stacks:
        return {"stacks": {}, "thesis": {}}
    n_samples = context.size(10_000, 1000, 200)
    clean, noisy = (_trained_alike(context, stacks, case, n_samples) for case in ("stack", "stack100"))
    model = load_model("default")
    robust = [
        model.infer(read_spectrum(stack.path, resolution=RESOLUTION), n_samples=n_samples, seed=context.seed)
        for stack in stacks
    ]
    view, ages = context.library().view("stack-long"), context.library().ssp.ages_gyr
    rows: dict[str, Any] = {}
    spectra: dict[str, dict[str, Array]] = {}
    for stack, perfect, rough, posterior in zip(stacks, clean, noisy, robust, strict=True):
        observed = stack.broadened(view.wavelength)
        rebuilt = {"observed": observed, **_rebuilt(view, ages, perfect[0], rough[0], posterior)}
        row = {
            "sigma_kms": stack.sigma_kms,
            "noise_free": {**_answer(perfect[0]), "sigmas_outside": perfect[1]},
            "noisy": {**_answer(rough[0]), "sigmas_outside": rough[1]},
            "robust": {
                **_answer(np.column_stack([posterior.formation_times, posterior.metallicity])),
                "verdict": list(posterior.verdict.reasons) or ["ok"],
            },
        }
        if with_ppxf.is_installed():
            found = with_ppxf.fit(view.wavelength, observed, view, ages, np.arange(0.1, 0.95, 0.1))
            row["ppxf"] = dict(
                zip(NAMES, [*found.times.round(3).tolist(), round(found.metallicity, 3)], strict=True)
            )
            rebuilt["ppxf"] = found.model
        row["residuals"] = _residuals(rebuilt)
        rows[stack.name], spectra[stack.name] = row, rebuilt
    _draw(context, stacks, clean, noisy, robust, view, spectra)
    return {"n_samples": n_samples, "stacks": rows, **_overall(rows), "thesis": _table_2(context.data)}


def _trained_alike(context: Context, stacks: list[Stack], case: str, n_samples: int) -> list[tuple[Array, float]]:
    """Samples (n, 10) of each stack from the answer of a case, and how far outside of its training it lies."""
    answer, _ = trained(context, case)
    data = context.dataset("continuous", "stack")
    flux = np.stack([stack.broadened(data.wavelength) for stack in stacks])
    features = answer.features(torch.tensor(flux).float() @ data.basis.T)
    generator = torch.Generator().manual_seed(context.seed)
    known = answer.features(answer.noisy(data.coefficients[data.validation], generator)).abs().amax(0)
    outside = (features.abs() / known).amax(1)
    samples = torch.cat(list(answer.sample(features, n_samples, seed=context.seed)))
    pairs = zip(samples.double().numpy(), outside.tolist(), strict=True)
    return [(some, round(distance, 1)) for some, distance in pairs]


def _answer(samples: Array) -> dict[str, dict[str, float]]:
    """Median and standard deviation of every quantity, as in table 2."""
    return {
        name: {"median": round(float(np.median(values)), 3), "sd": round(float(values.std()), 3)}
        for name, values in zip(NAMES, samples.T, strict=True)
    }


def _rebuilt(view: View, ages: Array, clean: Array, noisy: Array, posterior: Posterior) -> dict[str, Array]:
    """Spectra rebuilt from the medians (nine populations) and from whole posteriors."""

    def by_nine(samples: Array) -> Array:
        median = np.median(samples, axis=0)
        return from_nine(view, AGE_OF_UNIVERSE - median[:9], ages, float(median[9]))

    some = np.linspace(0, len(posterior) - 1, min(_REBUILT, len(posterior))).astype(int)
    age = posterior.age_of_universe
    history = history_from_times(torch.as_tensor(posterior.times[some]).double(), FRACTIONS)
    metallicity, a_v = (
        torch.as_tensor(values[some]).double() for values in (posterior.metallicity, posterior.a_v)
    )
    nine = age - np.median(posterior.formation_times, axis=0)
    middle = float(np.median(posterior.metallicity)), float(np.median(posterior.a_v))
    return {
        "noise_free_nine": by_nine(clean),
        "noisy_nine": by_nine(noisy),
        "robust_nine": from_nine(view, nine, ages, *middle),
        "robust_posterior": from_history(view, history, age, ages, metallicity, a_v).mean(0),
    }


def _residuals(rebuilt: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Mean and largest absolute relative residual, with equal medians and after the polynomials pPXF also has."""
    observed = rebuilt["observed"]
    found: dict[str, dict[str, float]] = {}
    for name, model in rebuilt.items():
        if name == "observed":
            continue
        # the polynomials of pPXF are in its fit
        plain = np.abs(residual(observed, model))
        smooth = plain if name == "ppxf" else np.abs(residual(observed, model, with_ppxf.DEGREE))
        found[name] = {
            "mean": round(float(plain.mean()), 5),
            "largest": round(float(plain.max()), 4),
            "mean_with_polynomials": round(float(smooth.mean()), 5),
        }
    return found


def _overall(rows: dict[str, Any]) -> dict[str, Any]:
    """Means over all stacks and wavelengths, stacks better than pPXF, and trends with the dispersion."""
    kinds = next(iter(rows.values()))["residuals"]
    means = {
        kind: {
            key: round(float(np.mean([row["residuals"][kind][key] for row in rows.values()])), 5)
            for key in ("mean", "mean_with_polynomials")
        }
        for kind in kinds
    }
    result: dict[str, Any] = {"residuals": means}
    if "ppxf" in kinds:
        result["better_than_ppxf"] = {
            kind: sum(
                row["residuals"][kind]["mean_with_polynomials"] < row["residuals"]["ppxf"]["mean_with_polynomials"]
                for row in rows.values()
            )
            for kind in kinds
            if kind != "ppxf"
        }
    sigma = [row["sigma_kms"] for row in rows.values()]
    result["rank_correlation_with_dispersion"] = {
        kind: {
            name: _rank_correlation(sigma, [row[kind][name]["median"] for row in rows.values()]) for name in SHOWN
        }
        for kind in ("noise_free", "noisy", "robust")
    }
    return result


def _rank_correlation(x: list[float], y: list[float]) -> float | None:
    if len(x) < 3:
        return None
    ranks = [np.argsort(np.argsort(values)) for values in (x, y)]
    return round(float(np.corrcoef(*ranks)[0, 1]), 3)


def _table_2(data: Path) -> dict[str, dict[str, float]]:
    path = data / "thesis" / "table2.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        return {
            f"{row['sigma_lo_kms']}-{row['sigma_hi_kms']}": {
                name: float(row[f"{column}"])
                for name, column in (
                    ("t10", "t10_gyr"), ("t50", "t50_gyr"), ("t90", "t90_gyr"), ("mh", "mh"),
                    ("t10_sd", "t10_err"), ("t50_sd", "t50_err"), ("t90_sd", "t90_err"), ("mh_sd", "mh_err"),
                )
            }
            for row in csv.DictReader(file)
        }  # fmt: skip


def _draw(
    context: Context,
    stacks: list[Stack],
    clean: list[tuple[Array, float]],
    noisy: list[tuple[Array, float]],
    robust: list[Posterior],
    view: View,
    spectra: dict[str, dict[str, Array]],
) -> None:
    """Figures 16, 17 and 18."""
    shares = np.arange(10, 91, 10)
    figure = new_figure(2 * COLUMN_INCHES, 2.3)
    titles = "trained without noise", "trained at S/N 100", "shipped model"
    medians = (
        *([np.median(samples[:, :9], axis=0) for samples, _ in many] for many in (clean, noisy)),
        [np.median(posterior.formation_times, axis=0) for posterior in robust],
    )
    for ax, title, many in zip(figure.subplots(1, 3), titles, medians, strict=True):
        for k, (stack, times) in enumerate(zip(stacks, many, strict=True)):
            ax.plot(times, shares, "o-", ms=2.5, lw=1, color=line_style(k)[0], label=f"{stack.name} km/s")
        ax.set(xlim=(0, None), ylim=(0, 100), title=title)
        ax.title.set_fontsize(8)
        finish(ax, "cosmic time [Gyr]", "mass formed [%]")
    legend(figure.axes[1])
    figure.savefig(context.figure("stacks-times"))
    some = sorted({0, len(stacks) // 2, len(stacks) - 1})
    figure = new_figure(2 * COLUMN_INCHES, 2.2)
    for ax, i in zip(np.atleast_1d(figure.subplots(1, len(some))), some, strict=True):
        plots.formation_percentiles(robust[i].formation_times, label="shipped model", ax=ax)
        ax.set_title(f"{stacks[i].name} km/s", fontsize=8)
    figure.savefig(context.figure("stacks-histories"))
    figure = new_figure(2 * COLUMN_INCHES, 1.9 * len(some))
    panels = figure.subplots(2 * len(some), 1, sharex=True, height_ratios=[2, 1] * len(some))
    kinds = {"robust_posterior": "shipped model", "noisy_nine": "trained at S/N 100", "ppxf": "pPXF"}
    for i, upper, lower in zip(some, panels[::2], panels[1::2], strict=True):
        rebuilt = spectra[stacks[i].name]
        upper.plot(
            view.wavelength, rebuilt["observed"], color="black", lw=0.8, label=f"stack {stacks[i].name} km/s"
        )
        for k, kind in enumerate(kind for kind in kinds if kind in rebuilt):
            color = line_style(k)[0]
            upper.plot(view.wavelength, rebuilt[kind], color=color, lw=0.7, label=kinds[kind])
            lower.plot(view.wavelength, 100 * residual(rebuilt["observed"], rebuilt[kind]), color=color, lw=0.7)
        lower.axhline(0, color="black", lw=0.5, ls=":")
        lower.set(ylim=(-8, 8))
        legend(upper, loc="lower right", ncols=2)
        finish(upper, "", "flux / median")
        finish(lower, "wavelength [Å]" if lower is panels[-1] else "", "residual [%]")
    figure.savefig(context.figure("stacks-spectra"))


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    if not result["stacks"]:
        return ["No stacks at hand: `--data` names a folder with `stacks/stack_LOW_HIGH.dat`."]
    lines = [
        f"Medians and standard deviations of {result['n_samples']:,} samples; times in Gyr after the Big Bang, "
        "[M/H] in dex.",
        "",
    ]
    rows = []
    for name, row in result["stacks"].items():
        stated = result["thesis"].get(name)
        if stated:
            rows.append([name, "thesis", *(f"{stated[key]:.2f} ± {stated[key + '_sd']:.2f}" for key in SHOWN), ""])
        far, near = (
            f"{row[kind]['sigmas_outside']:.3g} times as far out as any training spectrum"
            for kind in ("noise_free", "noisy")
        )
        for kind, title, remark in (
            ("noise_free", "ours, noise-free training", far),
            ("noisy", "ours, trained at S/N 100", near),
            ("robust", "shipped model", ", ".join(row["robust"]["verdict"])),
        ):
            cells = [f"{row[kind][key]['median']:.2f} ± {row[kind][key]['sd']:.2f}" for key in SHOWN]
            rows.append(["", title, *cells, remark])
        if "ppxf" in row:
            rows.append(["", "pPXF", *(f"{row['ppxf'][key]:.2f}" for key in SHOWN), ""])
    lines += table(["σ [km/s]", "", *SHOWN, "remark"], rows, "ll" + "r" * len(SHOWN) + "l")
    return [*lines, "", *_residual_lines(result), "", *_discussion(result)]


_KINDS = {
    "noise_free_nine": "noise-free training, 9 populations of equal weight",
    "noisy_nine": "training at S/N 100, 9 populations of equal weight",
    "robust_nine": "shipped model, 9 populations of equal weight",
    "robust_posterior": "shipped model, whole posterior",
    "ppxf": "pPXF",
}


def _residual_lines(result: dict[str, Any]) -> list[str]:
    means, better = result["residuals"], result.get("better_than_ppxf", {})
    n = len(result["stacks"])
    lines = [
        f"Mean absolute residuals over 4023-6000 Å and {n} stacks; the thesis states 2 %, and asked is at most "
        f"{100 * TARGET:g} %. The polynomials are of degree {with_ppxf.DEGREE}, as pPXF has them in the thesis; "
        "without them only the medians are made equal.",
        "",
    ]
    rows = []
    for kind, title in _KINDS.items():
        if kind in means:
            plain = "" if kind == "ppxf" else f"{100 * means[kind]['mean']:.2f}"
            count = f"{better[kind]} of {n}" if kind in better else ""
            rows.append((title, plain, f"{100 * means[kind]['mean_with_polynomials']:.2f}", count))
    return [
        *lines,
        *table(("rebuilt from", "as it is [%]", "with polynomials [%]", "better than pPXF"), rows, "lrrl"),
        "",
        "![Formation times of the stacks](figures/stacks-times.png)",
        "",
        "![Histories of three stacks](figures/stacks-histories.png)",
        "",
        "![Spectra rebuilt, and residuals](figures/stacks-spectra.png)",
    ]


def _discussion(result: dict[str, Any]) -> list[str]:
    rows, stated = result["stacks"], result["thesis"]
    trend = result["rank_correlation_with_dispersion"]
    common = [name for name in rows if name in stated]
    lines = ["**Where we disagree with table 2, and why.** "]
    if common:
        first, last = common[0], common[-1]
        lines[0] += (
            f"From {first} to {last} km/s the thesis' t50 goes from {stated[first]['t50']:.1f} to "
            f"{stated[last]['t50']:.1f} Gyr; the shipped model's from "
            f"{rows[first]['robust']['t50']['median']:.1f} to {rows[last]['robust']['t50']['median']:.1f} Gyr, "
            f"and its [M/H] from {rows[first]['robust']['mh']['median']:+.2f} to "
            f"{rows[last]['robust']['mh']['median']:+.2f}, where the thesis saw no trend. "
        )
    outside = [row["noise_free"]["sigmas_outside"] for row in rows.values()]
    lines[0] += (
        f"Rank correlations with the dispersion: t50 {trend['robust']['t50']}, [M/H] {trend['robust']['mh']} "
        f"(trained at S/N 100: {trend['noisy']['t50']} and {trend['noisy']['mh']}). A "
        f"network trained on noise-free spectra is asked about inputs {min(outside):.0f} to {max(outside):.0f} "
        "times as far out as any it has seen. What it says there is extrapolation, and so are its errors: two "
        "such networks (the thesis' and ours) need not agree with each other or with the galaxies. Noise in the "
        "training brings the stacks nearer, but not the answers: what is not in the training, dust above all, is "
        "taken for stars. The thesis' "
        "prior adds to it: almost all its galaxies are dead, their histories have three free times, and its "
        "spectra have no dust, no calibration errors, no imperfect templates. The shipped model was trained with "
        "all of these; where the templates are too imperfect even for it, its verdict says so."
    )
    return lines
