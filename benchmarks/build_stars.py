"""Make `data/stars.safetensors`: spectra of single stars, to tell them from galaxies.

    python -m benchmarks.build_stars OUT.safetensors

Needs the `fastar` extra.  Stars along the isochrones of three ages and three metallicities (solar-type and cool
dwarfs, giants, hot stars), with equal steps in log Teff along each, as FASTAR's network trained on the MILES
stars predicts them; of unit mean, in half precision, at MILES' resolution of 2.51 Angstrom, in air.
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

AGES_GYR = (0.06, 1.0, 11.0)
METALLICITIES = (-1.49, -0.35, 0.06)
STARS_EACH = 8


def spread(log_teff: np.ndarray, log_g: np.ndarray) -> np.ndarray:
    """Indices of stars that are about equally far from each other along an isochrone."""
    step = np.hypot(np.diff(log_teff) / 0.1, np.diff(log_g))
    path = np.concatenate([[0.0], np.cumsum(step)])
    return np.searchsorted(path, np.linspace(0.0, path[-1], STARS_EACH)).clip(0, len(path) - 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    synthesizer = IntegratedSSPSynthesizer(imf_function=kroupa)
    rows = []
    for age in AGES_GYR:
        for metallicity in METALLICITIES:
            _, log_teff, log_g, _ = (np.asarray(a) for a in synthesizer._get_isochrone(age, metallicity))
            chosen = spread(log_teff, log_g)
            teff, gravity = jnp.asarray(log_teff[chosen]), jnp.asarray(log_g[chosen])
            spectra = np.asarray(synthesizer.predict_spectrum(gravity, teff, jnp.full_like(teff, metallicity)))
            rows.append(spectra.reshape(STARS_EACH, -1))
    flux = np.concatenate(rows)
    flux = flux / flux.mean(-1, keepdims=True)
    tensors = {
        "wavelength": torch.tensor(np.asarray(synthesizer.wave, dtype=np.float32)),
        "flux": torch.tensor(flux).half(),
    }
    metadata = {
        "source": "FASTAR (github.com/inavarro/fastar), MIT licence, trained on MILES stars",
        "medium": "air",
    }
    save_file(tensors, out, metadata)
    print(f"{len(flux)} stars, {flux.shape[1]} pixels, flux from {flux.min():.3g} to {flux.max():.3g}")


if __name__ == "__main__":
    main()
