"""The stacks: observed spectra of early-type galaxies by velocity dispersion, and spectra rebuilt from histories.

All stacks are broadened to the dispersion of the widest, as the thesis did: the kernel's width is

    sigma^2 = (320 km/s)^2 - sigma_stack^2,

cut to a window in steps of 1 Angstrom and divided by their median.  A spectrum is rebuilt from the thesis' nine
single stellar populations of equal weight, with the ages at which 10, 20 ... 90 % of the mass had formed, or from
the whole history of posterior samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from benchmarks.thesis.library import LARGEST_KMS, View, broadening
from sfhflow.dust import calzetti
from sfhflow.sfh.history import StarFormationHistory
from sfhflow.ssp.weights import age_weights

__all__ = ["Stack", "from_history", "from_nine", "read_stacks", "residual", "smooth_ratio"]

Array = NDArray[np.float64]
_NAME = re.compile(r"stack_(\d+)_(\d+)\.dat$")
_C_KMS = 299792.458


@dataclass(frozen=True, eq=False)
class Stack:
    """A stack as its file has it.

    Attributes
    ----------
    path : Path
        Its file.
    low, high : float
        Velocity dispersions between which galaxies were stacked, km/s.
    wavelength, flux : arrays of shape (L,)
        Angstrom in air at rest, and flux in any unit.
    """

    path: Path
    low: float
    high: float
    wavelength: Array
    flux: Array

    @property
    def name(self) -> str:
        """Its dispersions, as table 2 names it."""
        return f"{self.low:.0f}-{self.high:.0f}"

    @property
    def sigma_kms(self) -> float:
        """Velocity dispersion in the middle of its range."""
        return 0.5 * (self.low + self.high)

    def broadened(self, wavelength: Array) -> Array:
        """Flux at `wavelength` at the resolution of the widest stack, divided by its median.

        Beyond its ends the spectrum is taken to be as high as in the 20 Angstrom before, or the kernel would lean
        inwards there.
        """
        reach = 6 * LARGEST_KMS / _C_KMS * self.wavelength[-1]
        step = float(np.median(np.diff(self.wavelength)))
        more = step * np.arange(1, int(reach / step) + 1)
        grid = np.concatenate([self.wavelength[0] - more[::-1], self.wavelength, self.wavelength[-1] + more])
        ends = self.flux[: int(20 / step)].mean(), self.flux[-int(20 / step) :].mean()
        flux = np.concatenate([np.full(len(more), ends[0]), self.flux, np.full(len(more), ends[1])])
        sigma = np.sqrt(max(LARGEST_KMS**2 - self.sigma_kms**2, 1.0))
        found = broadening(grid, wavelength, sigma) @ flux
        return found / np.median(found)


def read_stacks(folder: Path) -> list[Stack]:
    """All files `stack_LOW_HIGH.dat` of a folder by rising dispersion; none if there is no such folder."""
    stacks = []
    for path in folder.glob("stack_*.dat") if folder.is_dir() else ():
        match = _NAME.search(path.name)
        if match:
            wavelength, flux = np.loadtxt(path, usecols=(0, 1), unpack=True)
            stacks.append(Stack(path, float(match[1]), float(match[2]), wavelength, flux))
    return sorted(stacks, key=lambda stack: stack.low)


def from_nine(view: View, ages_gyr: ArrayLike, ssp_ages: ArrayLike, metallicity: float, a_v: float = 0.0) -> Array:
    """Spectrum (L,) of populations of equal mass at `ages_gyr` (9,), linear in log age; its median is one."""
    nodes = np.log(np.asarray(ssp_ages, dtype=float))
    place = np.interp(np.log(np.maximum(ages_gyr, 1e-9)), nodes, np.arange(len(nodes)))
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(len(nodes))), 0, 1).mean(0)
    return _spectra(view, torch.tensor(weights)[None], torch.tensor([metallicity]), torch.tensor([a_v]))[0]


def from_history(
    view: View, history: StarFormationHistory, age: float, ssp_ages: ArrayLike, metallicity: Tensor, a_v: Tensor
) -> Array:
    """Spectra (N, L) of histories (N) seen at the age of the Universe `age` in Gyr; their medians are one."""
    ages = torch.as_tensor(np.asarray(ssp_ages, dtype=float))
    weights = age_weights(*history, torch.full((len(metallicity),), age, dtype=torch.float64), ages)
    return _spectra(view, weights, metallicity, a_v)


def _spectra(view: View, weights: Tensor, metallicity: Tensor, a_v: Tensor) -> Array:
    low, high = view.metallicities[[0, -1]].tolist()
    spectra = view.combine(weights, metallicity.double().clamp(low, high)) @ view.basis
    spectra = spectra * calzetti(torch.as_tensor(view.wavelength), a_v.double())
    return (spectra / spectra.median(1, keepdim=True).values).numpy()


def smooth_ratio(observed: Array, model: Array, degree: int) -> Array:
    """Polynomial (L,) of a degree that brings `model` closest to `observed` when multiplied."""
    x = np.linspace(-1, 1, len(observed))
    curves = np.polynomial.legendre.legvander(x, degree) * model[:, None]
    return (curves / model[:, None]) @ np.linalg.lstsq(curves, observed, rcond=None)[0]


def residual(observed: Array, model: Array, degree: int | None = None) -> Array:
    """Relative residuals (L,), after a polynomial if a degree is given, else of spectra with equal medians."""
    if degree is not None:
        model = model * smooth_ratio(observed, model, degree)
    return (observed - model) / observed
