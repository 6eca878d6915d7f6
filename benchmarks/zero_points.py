"""What two libraries call the same spectrum: zero points of log age and [M/H] between FASTAR and another.

    python -m benchmarks.zero_points OTHER_LIBRARY

Every population of the other library is fitted with FASTAR's, for age and [M/H], with multiplicative polynomials
that take out what a flux calibration could: where the best fit lies is what a galaxy of the other library would be
called.  Printed are the differences, whose rms `age_zero_point` and `metallicity_zero_point` of a configuration's
`[mismatch]` table describe.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sfhflow.ssp import load_shipped, open_library
from sfhflow.ssp.library import SSPLibrary

Array = NDArray[np.float64]

WINDOW = 3700.0, 7350.0
AGES = (0.3, 0.6, 1.0, 2.0, 3.0, 5.0, 8.0, 11.0)
METALLICITIES = (-1.3, -0.7, -0.4, 0.0, 0.2)
DEGREE = 10


def misfit(model: Array, data: Array, polynomials: Array) -> float:
    """Rms of the relative residual of data / model from the best polynomial (K, L)."""
    ratio = data / model
    best = polynomials.T @ np.linalg.lstsq(polynomials.T, ratio, rcond=None)[0]
    return float(np.sqrt(np.mean((ratio / best - 1) ** 2)))


def renamed(library: SSPLibrary, data: Array, age: float, metallicity: float) -> tuple[float, float, float]:
    """Change of log10 age and [M/H] in dex for which the library's populations fit best, and the misfit there."""
    x = np.linspace(-1, 1, len(data))
    polynomials = np.polynomial.legendre.legvander(x, DEGREE).T
    ages, metals = library.ages_gyr, library.metallicities

    def of(place: Array) -> float:
        at = float(np.clip(age * 10 ** place[0], ages[0], ages[-1]))
        met = float(np.clip(metallicity + place[1], metals[0], metals[-1]))
        return misfit(library.interpolate(at, met), data, polynomials)

    best = minimize(
        of, np.zeros(2), method="Nelder-Mead", options={"initial_simplex": [[0, 0], [0.1, 0], [0, 0.1]]}
    )
    return float(best.x[0]), float(best.x[1]), float(best.fun)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("library", help="the other library: a path that `sfhflow ssp` can read")
    other = open_library(Path(parser.parse_args().library)).cut(*WINDOW)
    mine = load_shipped().cut(*WINDOW)
    found = []
    print("  age  [M/H]   d log age   d [M/H]   misfit")
    for age in AGES:
        for metallicity in METALLICITIES:
            spectrum = np.interp(mine.wavelength, other.wavelength, other.interpolate(age, metallicity))
            row = renamed(mine, spectrum, age, metallicity)
            found.append(row)
            print(f"{age:5.1f}  {metallicity:+.2f}   {row[0]:+9.3f}  {row[1]:+8.3f}   {100 * row[2]:.2f} %")
    changes = np.array(found)[:, :2]
    for name, values in zip(("log age", "[M/H]"), changes.T, strict=True):
        print(f"{name}: median {np.median(values):+.3f}, rms {np.sqrt(np.mean(values**2)):.3f} dex")


if __name__ == "__main__":
    main()
