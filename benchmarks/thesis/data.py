"""Stage: the training set (thesis section 3.1, table 1, figures 5 and 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.markdown import table
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, NAMES, PERCENT, history_of
from benchmarks.thesis.library import Library
from sfhflow.plots.style import BLUE, COLUMN_INCHES, finish, legend, line_style, new_figure

__all__ = ["run", "section"]

# what figure 5 holds fixed
_FIXED_METALLICITY, _FIXED_AGE_GYR = 0.06, 8.0
_REFERENCE = "gp_sfh_reference.npz"


def run(context: Context) -> dict[str, Any]:
    """Make the data sets, describe them, draw."""
    library, data = context.library(), context.dataset("discrete")
    truth = data.truth.numpy()
    sample = data.spectra(slice(0, 256))
    ssfr = data.histories.tuples[:, 1] - data.histories.tuples[:, 0]
    _draw_library(context, library)
    _draw_histories(context, data.histories.tuples[:100], data.histories.times[:100].numpy())
    return {
        "library": library.ssp.name,
        "is_thesis_library": library.is_thesis,
        "n_ages": len(library.ssp.ages_gyr),
        "n_metallicities": len(library.ssp.metallicities),
        "n_spectra": len(data),
        "n_pixels": len(data.wavelength),
        "wavelength": [float(data.wavelength[0]), float(data.wavelength[-1])],
        "metallicities": len(torch.unique(data.histories.metallicity)),
        "median_flux": float(sample.median(1).values.mean()),
        "share_forming_stars": float((ssfr > -12).double().mean()),
        "median": dict(zip(NAMES, np.median(truth, axis=0).round(3).tolist(), strict=True)),
        "sd": dict(zip(NAMES, truth.std(axis=0).round(3).tolist(), strict=True)),
        "reference": _reference(context),
    }


def _reference(context: Context) -> dict[str, float] | None:
    """How far our histories are from those that the authors' package has made of the same tuples."""
    path = context.data / "thesis" / _REFERENCE
    if not path.exists():
        return None
    with np.load(path) as file:
        tuples, wanted = torch.tensor(file["sfh_tuple"]), file["sfr_msun_per_yr"]
    mass = history_of(tuples).mass.numpy()
    known = wanted[:, 1:] / wanted[:, 1:].sum(1, keepdims=True)
    return {"n": len(known), "largest_difference": float(np.abs(mass.cumsum(1) - known.cumsum(1)).max())}


def _draw_library(context: Context, library: Library) -> None:
    """Figure 5: the library's spectra by age and by [M/H], each divided by its median."""
    ssp = library.ssp
    figure = new_figure(2 * COLUMN_INCHES, 2.4)
    age = int(np.abs(ssp.ages_gyr - _FIXED_AGE_GYR).argmin())
    met = int(np.abs(ssp.metallicities - _FIXED_METALLICITY).argmin())
    some = np.linspace(0, len(ssp.ages_gyr) - 1, 6).astype(int)
    panels = (
        (f"[M/H] = {ssp.metallicities[met]:.2f}", [(f"{ssp.ages_gyr[i]:g} Gyr", ssp.flux[i, met]) for i in some]),
        (
            f"age = {ssp.ages_gyr[age]:g} Gyr",
            [
                (f"[M/H] = {ssp.metallicities[j]:.2f}", ssp.flux[age, j])
                for j in range(0, len(ssp.metallicities), 2)
            ],
        ),
    )
    for ax, (title, curves) in zip(figure.subplots(1, 2), panels, strict=True):
        for k, (name, flux) in enumerate(curves):
            ax.plot(ssp.wavelength, flux / np.median(flux), color=line_style(k)[0], lw=0.5, label=name)
        ax.set_title(title, fontsize=8)
        ax.set(ylim=(0, 3))
        legend(ax)
        finish(ax, "wavelength [Å]", "flux / median")
    figure.savefig(context.figure("data-library"))


def _draw_histories(context: Context, tuples: torch.Tensor, times: np.ndarray) -> None:
    """Figure 6: a hundred histories, and when their mass had formed."""
    figure = new_figure(2 * COLUMN_INCHES, 2.4)
    left, right = figure.subplots(1, 2)
    history = history_of(tuples)
    middle = 0.5 * (history.time_edges[:, 1:] + history.time_edges[:, :-1])
    rate = history.mass / history.time_edges.diff(dim=1)
    left.plot(middle.T.numpy(), rate.T.numpy(), color=BLUE, lw=0.4, alpha=0.4)
    left.set(xlim=(0, AGE_OF_UNIVERSE), ylim=(0, 1.5))
    finish(left, "cosmic time [Gyr]", "SFR / mass formed [Gyr$^{-1}$]")
    right.plot(times.T, PERCENT, color=BLUE, lw=0.4, alpha=0.4)
    right.set(xlim=(0, AGE_OF_UNIVERSE), ylim=(0, 100))
    finish(right, "cosmic time [Gyr]", "mass formed [%]")
    figure.savefig(context.figure("data-histories"))


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    low, high = result["wavelength"]
    names = ("t10", "t50", "t90", "mh")
    lines = [
        f"{result['library']}: {result['n_ages']} ages and {result['n_metallicities']} [M/H], {low:g}-{high:g} Å, "
        f"{result['n_pixels']} pixels. {result['n_spectra']:,} galaxies with GP-SFH histories and "
        f"{result['metallicities']} values of [M/H]; {100 * result['share_forming_stars']:.1f} % have a specific "
        "star formation rate above 1e-12 / yr. Another set of as many has any [M/H] in the same range. Every "
        "spectrum is divided by its median; 80 % are for training, 10 % for validation, 10 % for tests.",
        "",
        *table(
            ["", *names],
            [
                [title, *(f"{result[key][name]:.2f}" for name in names)]
                for title, key in (("median", "median"), ("standard deviation", "sd"))
            ],
        ),
        "",
    ]
    if result["reference"]:
        lines += [
            f"Cumulative masses differ by at most {result['reference']['largest_difference']:.1g} from those that "
            f"`dense_basis` has made of the same {result['reference']['n']} tuples.",
            "",
        ]
    return [
        *lines,
        "![Spectra of the library by age and [M/H]](figures/data-library.png)",
        "",
        "![Histories and formation times](figures/data-histories.png)",
    ]
