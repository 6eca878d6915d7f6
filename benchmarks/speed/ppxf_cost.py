"""Cost of a galaxy with pPXF, with and without its bootstrap, beside ours.

    python -m benchmarks.speed.ppxf_cost [-n 4] [--samples 1000] [--bootstraps 100] [--model M] [--out FILE.json]

pPXF (Cappellari 2023, MNRAS 526, 3273) fits simulated spectra with every second age and metallicity of the library
they are made of (162 templates, about as many as in its examples), with velocity, dispersion and multiplicative
polynomials of order 8.  Its bootstrap perturbs the best fit by its residuals, and fits the weights again with the
kinematics held fixed, which is the faster way; `--timed` of these are timed, and their cost is scaled to
`--bootstraps`.  One core for both.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ppxf.ppxf import ppxf

from benchmarks.speed.inference import our_times
from benchmarks.speed.measure import report
from benchmarks.speed.mocks import mock_spectra
from sfhflow import Model, load_model
from sfhflow.galaxy import resample_library
from sfhflow.observation import observe
from sfhflow.ssp import load_shipped

Array = NDArray[np.float64]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=4, help="galaxies that pPXF fits")
    parser.add_argument("--ours", type=int, default=256, help="galaxies that we infer")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--bootstraps", type=int, default=100)
    parser.add_argument("--timed", type=int, default=5, help="bootstraps that are timed for each galaxy")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(given.model)
    spectra = list(mock_spectra(model, given.ours))
    ours_ms = our_times(model, spectra, given.samples)["inference_and_summaries"]
    observation = observe(spectra[: given.n], model.grid, model.library_fwhm)
    stars = templates(model)
    fits = np.array(
        [
            seconds(stars, flux, ivar, model.grid.velocity_step_kms, given.timed)
            for flux, ivar in zip(
                observation.flux.double().numpy(), observation.ivar.double().numpy(), strict=True
            )
        ]
    )
    fit_ms, refit_ms = 1e3 * fits.mean(axis=0)
    with_bootstrap_ms = fit_ms + given.bootstraps * refit_ms
    numbers: dict[str, Any] = {
        "settings": {"templates": stars.shape[1], "bootstraps": given.bootstraps, "samples": given.samples},
        "ms_a_galaxy": {"ours": ours_ms, "ppxf": fit_ms, "ppxf_with_bootstrap": with_bootstrap_ms},
        "ratios": {"ppxf": fit_ms / ours_ms, "ppxf_with_bootstrap": with_bootstrap_ms / ours_ms},
    }
    report("ppxf_cost", numbers, given.out)


def templates(model: Model) -> Array:
    """Spectra (P, T) of every second age and metallicity on the model's grid, each of unit mean."""
    flux = resample_library(load_shipped(), model.grid)[::2, ::2].reshape(-1, model.grid.n_pixels)
    return (flux / flux.mean(axis=1, keepdims=True)).T


def seconds(stars: Array, flux: Array, ivar: Array, velscale: float, n_refits: int) -> tuple[float, float]:
    """Seconds of a fit, and of a refit of its bootstrap."""
    good = ivar > 0
    noise = np.where(good, 1.0 / np.sqrt(np.where(good, ivar, 1.0)), 1.0)
    pixels = np.flatnonzero(good)
    options: dict[str, Any] = {"moments": 2, "degree": -1, "mdegree": 8, "goodpixels": pixels, "quiet": True}
    begin = time.perf_counter()
    fit = ppxf(stars, flux, noise, velscale, [0.0, 150.0], **options)
    one = time.perf_counter() - begin
    # the continuum that the polynomials have found is taken out: the refits are linear in the templates
    shape = fit.mpoly
    model, residual = fit.bestfit / shape, np.where(good, flux - fit.bestfit, 0.0) / shape
    rng = np.random.default_rng(0)
    options["mdegree"] = 0
    begin = time.perf_counter()
    for _ in range(n_refits):
        signs = rng.choice([-1.0, 1.0], len(flux))
        ppxf(stars, model + signs * residual, noise / shape, velscale, fit.sol, linear=True, **options)
    return one, (time.perf_counter() - begin) / n_refits


if __name__ == "__main__":
    main()
