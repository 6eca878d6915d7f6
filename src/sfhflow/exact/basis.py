"""Principal components of the spectra that the prior makes at the resolution of one galaxy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.exact.reference import FLOOR, Data, Reference

__all__ = ["Basis", "principal_components"]

Array = NDArray[np.float64]

# components are kept until the mean chi squared of what they leave out falls below this
_LEFT_OUT = 1e-4
_MOST = 220
_PRIOR_SPECTRA = 1200


class Basis(NamedTuple):
    """Spectra (k, P), and what a spectrum is multiplied by to find how much it holds of each (k, P)."""

    spectra: Array
    projector: Array


def principal_components(reference: Reference, data: Data, u: Tensor, *, seed: int) -> Basis:
    """Components of spectra drawn from the prior and of samples u (S, D), in units of the errors of the data.

    Pixels without data have no weight; the components are combinations of spectra, and are right there too.
    """
    templates = reference.templates
    prior = templates.simulator.prior
    galaxy, age = prior.sample(_PRIOR_SPECTRA, torch.Generator().manual_seed(seed))
    # the same fractions of the age of the Universe, at this galaxy's age
    drawn = prior.parameters.to_unbounded(galaxy, age)
    spectra = templates(torch.cat([drawn, u.double()])).numpy()
    weight = np.zeros(spectra.shape[1])
    seen = np.abs(reference.spectrum[data.pixels])
    weight[data.pixels] = seen.mean() / np.hypot(data.error, FLOOR * seen)
    weighted = spectra * weight
    values, vectors = np.linalg.eigh(weighted @ weighted.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    left_out = (values.sum() - np.cumsum(values)) / len(spectra)
    k = min(int(np.sum(left_out > _LEFT_OUT)) + 1, _MOST)
    components = (vectors[:, :k] / np.sqrt(values[:k])).T @ spectra
    return Basis(components, components * weight**2)
