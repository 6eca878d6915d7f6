"""Make `data/mismatch.safetensors`: how SSP spectra react to errors in the parameters of the library's stars.

    python -m benchmarks.build_mismatch OUT.safetensors [--miuscat FOLDER]

Needs the `fastar` extra.  Each SSP is synthesised again with the effective temperatures (+-0.006 dex) or the
gravities (+-0.2 dex) of all stars shifted at fixed isochrone; the logarithmic ratios to the unshifted SSP are
freed of their continuum and smoothed, and their principal components kept.  The stars' metallicities are not
shifted: [M/H] is defined by them, and an error in it is not a mismatch but another answer.
With a folder of MIUSCAT SSPs it also prints how the two libraries differ: rms by wavelength, correlation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import torch
from fastar import IntegratedSSPSynthesizer
from fastar.imf import kroupa
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter1d

from sfhflow.ssp.miles import read
from sfhflow.ssp.store import load_shipped

AGES_GYR = (0.05, 0.1, 0.3, 0.6, 1.0, 1.75, 3.0, 5.0, 9.0, 13.0)
METALLICITIES = (-1.49, -0.96, -0.35, 0.06, 0.26)
SHIFTS = [(s * 0.006, 0.0) for s in (-1, 1)] + [(0.0, s * 0.2) for s in (-1, 1)]
N_COMPONENTS = 12
CONTINUUM_PIXELS, SMOOTH_PIXELS = 120.0, 2.0


def features(log_ratio: np.ndarray) -> np.ndarray:
    """Remove the continuum and smooth to galactic velocity dispersions."""
    high_pass = log_ratio - gaussian_filter1d(log_ratio, CONTINUUM_PIXELS, axis=-1, mode="nearest")
    return gaussian_filter1d(high_pass, SMOOTH_PIXELS, axis=-1)


def shifted_ratios() -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (L,) and feature residuals (M, L) of all SSPs and shifts."""
    synthesizer = IntegratedSSPSynthesizer(imf_function=kroupa)
    rows = []
    for age in AGES_GYR:
        for metallicity in METALLICITIES:
            mass, log_teff, log_g, luminosity = synthesizer._get_isochrone(age, metallicity)
            imf = synthesizer.imf_function(mass, {})
            stars = jnp.full_like(log_teff, metallicity)
            base = synthesizer._wrapper(mass, log_teff, log_g, luminosity, stars, imf)
            for teff, gravity in SHIFTS:
                new = synthesizer._wrapper(mass, log_teff + teff, log_g + gravity, luminosity, stars, imf)
                rows.append(np.log(np.asarray(new) / np.asarray(base)))
    return np.asarray(synthesizer.wave), features(np.array(rows))


def compare_libraries(folder: Path) -> None:
    """Print the differences between the shipped grid and a MIUSCAT grid of the same nodes."""
    ours, theirs = load_shipped("fastar-kroupa"), read(folder)
    i = [int(np.argmin(np.abs(ours.ages_gyr - age))) for age in AGES_GYR]
    flux = np.array([[np.interp(ours.wavelength, theirs.wavelength, row) for row in theirs.flux[k]] for k in i])
    difference = features(np.log(flux / ours.flux[i])).reshape(-1, len(ours.wavelength))
    print(f"rms of the difference {difference.std():.4f}")
    for chunk in np.array_split(np.arange(len(ours.wavelength)), 20):
        print(f"{ours.wavelength[chunk].mean():8.0f} A  {difference[:, chunk].std():.4f}")
    for lag in (2, 4, 8, 20, 40):
        covariance = np.mean(difference[:, :-lag] * difference[:, lag:])
        print(f"autocorrelation at {0.9 * lag:4.1f} A  {covariance / difference.var():.2f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--miuscat", type=Path)
    arguments = parser.parse_args()
    wavelength, rows = shifted_ratios()
    unit = rows / rows.std(-1, keepdims=True)
    _, size, components = np.linalg.svd(unit, full_matrices=False)
    scaled = components[:N_COMPONENTS] * size[:N_COMPONENTS, None] / np.sqrt(len(rows))
    save_file(
        {
            "wavelength": torch.tensor(wavelength, dtype=torch.float32),
            "components": torch.tensor(scaled).float(),
        },
        arguments.out,
    )
    print(
        f"{N_COMPONENTS} components hold {np.sum(size[:N_COMPONENTS] ** 2) / np.sum(size**2):.3f} of the variance"
    )
    if arguments.miuscat:
        compare_libraries(arguments.miuscat)


if __name__ == "__main__":
    main()
