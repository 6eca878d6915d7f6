"""Fit the Gaussian mixture that is the shipped prior of star formation histories.

    python -m benchmarks.build_prior [-n 240000] [--components 64] [--out src/sfhflow/data/histories.safetensors]

Draws formation times from the families of `sfhflow.sfh.default_mixture`, with the scatter of the gaps between
them, keeps more of those whose specific star formation rate is rare (by no more than a factor of four), and
fits their log-ratios.  Prints the log density of draws that the fit has not seen and the distributions of t50,
t90 and the specific star formation rate of both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfhflow.cosmology import age_of_universe
from sfhflow.derived import log_ssfr
from sfhflow.gaussian_mixture import GaussianMixture, fit_gaussian_mixture, write_gaussian_mixture
from sfhflow.log_ratios import isometric_to_times, times_to_isometric
from sfhflow.parameters import FRACTIONS
from sfhflow.prior import Prior
from sfhflow.sfh import default_mixture

OUT = Path("src/sfhflow/data/histories.safetensors")
# bins of log sSFR (100 Myr) between which the draws are balanced; the first is of dead galaxies
SSFR_EDGES = (-15.0, -13.0, -12.5, -12.0, -11.5, -11.0, -10.5, -10.0, -9.5, -9.0, -8.0)
LARGEST_WEIGHT = 4.0
# at which specific rates are quoted
AGE_GYR = 13.8
DEAD_SHARE = 0.33


def draw_histories(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Formation times as fractions of the age of the Universe (n, 13), and balancing weights (n,)."""
    generator = torch.Generator().manual_seed(seed)
    age = age_of_universe(Prior.max_redshift * torch.rand(n, generator=generator, dtype=torch.float64))
    times = Prior(default_mixture()).sample_times(age, generator) / age[:, None]
    ssfr = log_ssfr((times * AGE_GYR).numpy(), AGE_GYR, 0.1)
    share = np.histogram(ssfr, SSFR_EDGES)[0] / n
    target = np.full(len(share), (1 - DEAD_SHARE) / (len(share) - 1))
    target[0] = DEAD_SHARE
    weight = np.clip(target / np.maximum(share, 1e-6), 1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
    bins = np.clip(np.digitize(ssfr, SSFR_EDGES) - 1, 0, len(share) - 1)
    return times, torch.as_tensor(weight[bins])


def print_shares(label: str, times: Tensor) -> None:
    """Print per cent of galaxies in bins of t50, t90 (fractions of the age) and log sSFR."""
    ssfr = log_ssfr((times * AGE_GYR).numpy(), AGE_GYR, 0.1)
    columns = {"t50": (times[:, FRACTIONS.index(0.5)], np.linspace(0, 1, 11))}
    columns |= {"t90": (times[:, FRACTIONS.index(0.9)], np.linspace(0, 1, 11)), "sSFR": (ssfr, SSFR_EDGES)}
    for name, (values, edges) in columns.items():
        shares = 100 * np.histogram(values, edges)[0] / len(times)
        print(f"{label:9s}{name:5s}", " ".join(f"{share:5.1f}" for share in shares))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=240_000)
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    times, weight = draw_histories(2 * arguments.n, seed=1)
    generator = torch.Generator().manual_seed(2)
    kept = torch.multinomial(weight, arguments.n, generator=generator)
    ratios = times_to_isometric(times[kept])
    n_train = int(0.9 * arguments.n)
    mixture: GaussianMixture = fit_gaussian_mixture(
        ratios[:n_train], arguments.components, steps=arguments.steps, seed=3
    )
    for label, part in (("seen", ratios[:n_train]), ("unseen", ratios[n_train:])):
        print(f"{label:7s} mean log density {mixture.log_prob(part).mean():.3f}")
    print_shares("families", times[kept])
    print_shares("mixture", isometric_to_times(mixture.sample(50_000, generator)))
    write_gaussian_mixture(mixture, arguments.out, {"families": "default_mixture", "n": str(n_train)})


if __name__ == "__main__":
    main()
