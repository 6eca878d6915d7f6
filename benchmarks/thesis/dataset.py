"""The thesis' training set (section 3.1): 10,000 GP-SFH histories for each of 15 [M/H], and their spectra.

A galaxy is sum_a w_a S_a([M/H]) (thesis eq. 5), divided by its median.  The weights w are the exact integrals of
the history, constant in 1000 bins of time, over spectra linear in log age (`sfhflow.ssp.weights`); what is kept of
a galaxy are its weights, [M/H] and formation times, and of its spectrum the coefficients in the orthonormal basis
of the library, in random order, so that the split 80/10/10 is by position.

Two differences from the thesis: it interpolated in age linearly at the centres of the bins, and its 15 [M/H] begin
at -2.3 where the library ends at -2.27 (ours begin there).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.thesis.library import Library, View, Window
from sfhflow.sfh.gp import GaussianProcessSFH, gp_sfr
from sfhflow.sfh.history import StarFormationHistory, formation_times
from sfhflow.ssp.weights import age_weights

__all__ = ["AGE_OF_UNIVERSE", "NAMES", "PERCENT", "Dataset", "Histories", "draw_histories", "history_of"]

AGE_OF_UNIVERSE = 13.466983947061873
"""Gyr; of the cosmology (H0 70, Omega_m 0.3) with which the authors ran GP-SFH."""
PERCENT = (10, 20, 30, 40, 50, 60, 70, 80, 90)
NAMES = (*(f"t{percent}" for percent in PERCENT), "mh")
"""The ten quantities, in the order of `Dataset.truth`."""
N_METALLICITIES = 15

_ROWS = 2048
# of the singular values of the library: directions that carry less than rounding errors are not kept
_RANK = 256


@dataclass(frozen=True, eq=False)
class Histories:
    """Galaxies in random order.

    Attributes
    ----------
    tuples : Tensor of shape (N, 6), float64
        Tuples of `sfhflow.sfh.gp_sfr`: log10 M, log10 SFR, 3, and three times as fractions.
    metallicity : Tensor of shape (N,), float64
        [M/H] in dex.
    weights : Tensor of shape (N, A), float32
        Mass at each age of the library.
    times : Tensor of shape (N, 9), float64
        Cosmic time in Gyr when 10, 20 ... 90 % of the mass had formed.
    """

    tuples: Tensor
    metallicity: Tensor
    weights: Tensor
    times: Tensor

    def __len__(self) -> int:
        return len(self.metallicity)

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        save_file({name: getattr(self, name).contiguous() for name in self.__annotations__}, path)

    @classmethod
    def load(cls, path: Path) -> Histories:
        """Read what `save` wrote."""
        return cls(**load_file(path))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Median-normalised noise-free spectra of galaxies, with the truth.

    Attributes
    ----------
    histories : Histories
        The galaxies.
    view : View
        Wavelengths and basis.
    coefficients : Tensor of shape (N, R), float32
        Of the normalised spectra, in `view.basis` (its first R rows).
    """

    histories: Histories
    view: View
    coefficients: Tensor

    def __len__(self) -> int:
        return len(self.coefficients)

    @property
    def wavelength(self) -> NDArray[np.float64]:
        """Angstrom in air, shape (L,)."""
        return self.view.wavelength

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest [M/H] in dex."""
        low, high = self.view.metallicities[[0, -1]].tolist()
        return low, high

    @property
    def train(self) -> slice:
        """The first 80 % of the galaxies."""
        return slice(0, len(self) * 8 // 10)

    @property
    def validation(self) -> slice:
        """The next 10 %."""
        return slice(len(self) * 8 // 10, len(self) * 9 // 10)

    @property
    def test(self) -> slice:
        """The last 10 %."""
        return slice(len(self) * 9 // 10, len(self))

    @cached_property
    def truth(self) -> Tensor:
        """The quantities `NAMES`: nine formation times in Gyr and [M/H] in dex; shape (N, 10), float32."""
        return torch.cat([self.histories.times, self.histories.metallicity[:, None]], 1).float()

    @cached_property
    def basis(self) -> Tensor:
        """Orthonormal basis (R, L) of the spectra, where and of the type that the coefficients are."""
        return self.view.basis[: self.coefficients.shape[1]].to(self.coefficients)

    def to(self, device: str) -> Dataset:
        """The same with spectra made on another device; the truth stays where it is."""
        return Dataset(self.histories, self.view, self.coefficients.to(device))

    def spectra(self, rows: slice | Tensor) -> Tensor:
        """Spectra (n, L) of some galaxies, float32; their median is one."""
        return self.coefficients[rows] @ self.basis


def history_of(tuples: Tensor) -> StarFormationHistory:
    """Histories of GP-SFH tuples (N, 6), constant in 999 bins as `GaussianProcessSFH.sample` makes them."""
    age = tuples.new_full((len(tuples),), AGE_OF_UNIVERSE)
    rate, time = gp_sfr(tuples, age)
    return StarFormationHistory(time, rate[:, 1:] / rate[:, 1:].sum(-1, keepdim=True))


def draw_histories(n: int, library: Library, *, discrete: bool, seed: int) -> Histories:
    """Draw `n` galaxies from the authors' prior.

    With discrete metallicities, each of the 15 has n / 15 galaxies; otherwise [M/H] is uniform over their range.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = (float(library.ssp.metallicities[i]) for i in (0, -1))
    if discrete:
        values = torch.linspace(low, high, N_METALLICITIES, dtype=torch.float64)
        metallicity = values.repeat(-(-n // N_METALLICITIES))[torch.randperm(n, generator=generator)]
    else:
        metallicity = low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)
    age = torch.full((n,), AGE_OF_UNIVERSE, dtype=torch.float64)
    tuples = GaussianProcessSFH().sample_tuples(age, generator)
    weights, times = weights_and_times(tuples, library)
    return Histories(tuples, metallicity, weights.float(), times)


def weights_and_times(tuples: Tensor, library: Library) -> tuple[Tensor, Tensor]:
    """Weights of the library's ages (N, A) and formation times in Gyr (N, 9) of GP-SFH tuples (N, 6)."""
    ages = torch.as_tensor(library.ssp.ages_gyr)
    weights, times = [], []
    for some in tuples.split(_ROWS):
        history = history_of(some)
        age = some.new_full((len(some),), AGE_OF_UNIVERSE)
        weights.append(age_weights(*history, age, ages))
        times.append(formation_times(history, [percent / 100 for percent in PERCENT]))
    return torch.cat(weights), torch.cat(times)


def make_dataset(histories: Histories, library: Library, window: Window, path: Path) -> Dataset:
    """Spectra of galaxies in a window; coefficients are read from `path` if there, else written."""
    view = library.view(window)
    if not path.exists():
        save_file({"coefficients": normalised(view, histories.weights, histories.metallicity)}, path)
    return Dataset(histories, view, load_file(path)["coefficients"])


def normalised(view: View, weights: Tensor, metallicity: Tensor) -> Tensor:
    """Coefficients (N, R) of spectra divided by their medians, from weights of age (N, A) and [M/H] (N,)."""
    rank = min(_RANK, len(view.basis))
    basis = view.basis.float()
    parts = []
    for some, met in zip(weights.split(_ROWS), metallicity.split(_ROWS), strict=True):
        coefficients = view.combine(some.double(), met)
        # in units of the norm first, which single precision holds whatever the library's unit
        coefficients /= coefficients.norm(dim=1, keepdim=True)
        median = (coefficients.float() @ basis).median(dim=1, keepdim=True).values
        parts.append((coefficients[:, :rank] / median).float())
    return torch.cat(parts)
