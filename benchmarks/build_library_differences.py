"""Make `data/library_differences.safetensors`: how SSP spectra of two libraries made of the same stars differ.

    python -m benchmarks.build_library_differences MIUSCAT_FOLDER [--out FILE.safetensors]

The logarithmic ratios of MIUSCAT to the shipped FASTAR spectra of the same age (0.1 Gyr and older) and
metallicity (above -1.6) are freed of their continuum and smoothed to galactic velocity dispersions.  Their
principal components about zero, not about the mean, are kept: the offset that all ages share is a difference
too.  Times standard-normal numbers they have the mean square of the ratios.  Prints that, and how much of it
the components hold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter1d

from sfhflow.ssp.miles import read
from sfhflow.ssp.store import load_shipped

OUT = Path("src/sfhflow/data/library_differences.safetensors")
N_COMPONENTS = 8
YOUNGEST_GYR, LOWEST_METALLICITY = 0.1, -1.6
CONTINUUM_PIXELS, SMOOTH_PIXELS = 120.0, 2.0


def features(log_ratio: np.ndarray) -> np.ndarray:
    """Remove the continuum and smooth to galactic velocity dispersions."""
    high_pass = log_ratio - gaussian_filter1d(log_ratio, CONTINUUM_PIXELS, axis=-1, mode="nearest")
    return gaussian_filter1d(high_pass, SMOOTH_PIXELS, axis=-1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("miuscat", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    ours, theirs = load_shipped("fastar-kroupa"), read(arguments.miuscat)
    ages, metallicities = ours.ages_gyr >= YOUNGEST_GYR, ours.metallicities > LOWEST_METALLICITY
    flux = np.apply_along_axis(lambda row: np.interp(ours.wavelength, theirs.wavelength, row), -1, theirs.flux)
    rows = features(np.log(flux / ours.flux)[ages][:, metallicities]).reshape(-1, len(ours.wavelength))
    _, size, components = np.linalg.svd(rows, full_matrices=False)
    scaled = components[:N_COMPONENTS] * size[:N_COMPONENTS, None] / np.sqrt(len(rows))
    print(f"rms of the difference {np.sqrt(np.mean(rows**2)):.4f}, of its mean {rows.mean(0).std():.4f}")
    print(f"{N_COMPONENTS} components hold {np.sum(size[:N_COMPONENTS] ** 2) / np.sum(size**2):.3f} of it")
    tensors = {"wavelength": torch.tensor(ours.wavelength), "components": torch.tensor(scaled)}
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, arguments.out)


if __name__ == "__main__":
    main()
