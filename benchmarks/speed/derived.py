"""Time of everything that is derived from posterior samples, for each galaxy.

    python -m benchmarks.speed.derived [-n 64] [--samples 1000] [--repeat 5]

Formation times are drawn from a Dirichlet distribution and lie in memory as a model leaves them; the spectra have
4000 pixels.  Prints CPU milliseconds a galaxy on one core, the best of the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from sfhflow import Spectrum, load_model
from sfhflow.derived import quantities
from sfhflow.photometry import log_luminosities


def best(function: Callable[[], object], n: int, repeat: int) -> float:
    """Least CPU time of a call, in milliseconds for each of `n` galaxies."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1e3 * min(times) / n


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=64, help="galaxies")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    n, light = options.n, load_model("default").light
    rng = np.random.default_rng(0)
    shape = (n, options.samples)
    gaps = rng.dirichlet(np.full(14, 1.0), size=shape)
    # the samples of one quantity side by side
    times = np.moveaxis(np.ascontiguousarray(np.moveaxis(13.5 * gaps.cumsum(-1)[..., :-1], -1, 1)), 1, -1)
    # a galaxy whose [M/H] is known to 0.1 dex
    metallicity = np.clip(rng.uniform(-2, 0.3, (n, 1)) + rng.normal(0, 0.1, shape), -2.27, 0.4)
    a_v = rng.uniform(0, 1, shape)
    few = max(1, 16_000 // options.samples)

    def derive(*, with_light: bool) -> None:
        for start in range(0, n, few):
            rows = slice(start, start + few)
            parts = {"metallicity": metallicity[rows], "a_v": a_v[rows], "light": light if with_light else None}
            quantities(times[rows], np.full((len(times[rows]), 1), 13.7), **parts)

    wavelength = np.geomspace(3800.0, 9200.0, 4000)
    flux = 1 + 0.01 * rng.normal(size=4000)
    spectrum = Spectrum(wavelength, flux, np.full(4000, 1e4), 0.1, flux_unit="1e-17 erg / (s cm2 Angstrom)")  # type: ignore[call-arg,arg-type]
    print(f"{n} galaxies, {options.samples} samples; CPU milliseconds a galaxy")
    print(f"assembly           {best(lambda: derive(with_light=False), n, options.repeat):.3f}")
    print(f"assembly and light {best(lambda: derive(with_light=True), n, options.repeat):.3f}")
    print(f"luminosity         {best(lambda: log_luminosities(spectrum), 1, 20 * options.repeat):.3f}")


if __name__ == "__main__":
    main()
