"""Our simulator of noiseless spectra against the thesis' algorithm: equal, and how much faster.

    python -m benchmarks.speed.simulator [-n 4096] [--slow 8] [--out FILE.json]

Both start from tuples of the thesis' GP-SFH prior and end with spectra of 4300 pixels made of the shipped library;
both use one core and no disk.  The slow way is `benchmarks.speed.authors`.  Times are the best of three.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed import authors
from benchmarks.speed.measure import best_of, report
from sfhflow.galaxy import StellarPopulations, resample_library
from sfhflow.grid import LogGrid
from sfhflow.sfh import GaussianProcessSFH, gp_sfr
from sfhflow.sfh.history import StarFormationHistory
from sfhflow.ssp import load_shipped

AGE = 13.46
N_PIXELS = 4300


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=4096, help="galaxies that we simulate at once")
    parser.add_argument("--slow", type=int, default=8, help="those that the slow way simulates as well")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report("simulator", compare(arguments.n, arguments.slow), arguments.out)


def compare(n: int, n_slow: int) -> dict[str, float]:
    """Milliseconds a galaxy of both ways, their ratio and their largest relative difference at any pixel."""
    library = load_shipped()
    low, high = library.wavelength[[0, -1]] + np.array([1.0, -1.0])
    grid = LogGrid(low, high, float(np.log(high / low)) / (N_PIXELS - 1))
    populations = StellarPopulations(library, grid, tolerance=1e-6)
    on_grid = replace(
        library, wavelength=grid.wavelength, flux=resample_library(library, grid), fwhm=2.5, medium="air"
    )
    generator = torch.Generator().manual_seed(0)
    ages = torch.full((n,), AGE, dtype=torch.float64)
    tuples = GaussianProcessSFH().sample_tuples(ages, generator)
    bottom, top = library.metallicities[[0, -1]]
    metallicity = bottom + (top - bottom) * torch.rand(n, generator=generator, dtype=torch.float64)

    def ours() -> torch.Tensor:
        sfr, time = gp_sfr(tuples, ages)
        history = StarFormationHistory(time, sfr[:, 1:] / sfr[:, 1:].sum(-1, keepdim=True))
        return populations.spectra(history, metallicity, ages)

    def theirs() -> np.ndarray:
        rows = zip(tuples[:n_slow].numpy(), metallicity[:n_slow].tolist(), strict=True)
        return np.array([authors.spectrum(sfh_tuple, mh, AGE, on_grid) for sfh_tuple, mh in rows])

    slow_s, slow = best_of(theirs, 1 if n_slow > 20 else 3)
    fast_s, fast = best_of(ours, 3)
    expected = slow / populations.unit
    return {
        "pixels": grid.n_pixels,
        "ours_ms": 1e3 * fast_s / n,
        "authors_ms": 1e3 * slow_s / n_slow,
        "ratio": slow_s / n_slow / (fast_s / n),
        "largest_difference": float(np.max(np.abs(fast[:n_slow].numpy() / expected - 1))),
    }


if __name__ == "__main__":
    main()
