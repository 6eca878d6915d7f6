r"""Light of a galaxy for each solar mass formed, from a table that stays with the model; the SSP library need not.

A library enters broad-band light only through the luminosity :math:`l(t, z)` of its populations of age *t* and
metallicity *z* in the band.  Between formation times the rate is constant, so mass :math:`m_k` of ages from
:math:`a_k` to :math:`a_{k-1}` shines with

.. math:: m_k \frac{\Lambda(a_{k-1}) - \Lambda(a_k)}{a_{k-1} - a_k}, \qquad \Lambda(a) = \int_0^a l(t)\, dt,

and the mean age weighted by light needs the integral of :math:`t\, l(t)` in the same way.  Like the spectra that
models are trained on, *l* is linear in log *t* and in [M/H], and that of the youngest population for all younger
stars; :math:`\Lambda` is then a closed form, tabulated once on a fine grid of :math:`\sqrt t`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from sfhflow.bands import BANDS
from sfhflow.dust import calzetti
from sfhflow.sfh.quantile import FRACTIONS

__all__ = ["AGE_BAND", "Light", "StarLight", "attenuation"]

Array = NDArray[np.float64]

AGE_BAND = "r"
"""Band whose light weights the mean age."""

_AXES = ("ages_gyr", "metallicities")
# cells of the grid of sqrt(age) for each sqrt(Gyr): they are 13 Myr wide at 10 Gyr, and narrower before
_CELLS = 500
# A burst has a width of a few thousand years: formation times are kept this far apart, in Gyr.
_SHORTEST = 1e-6
# samples at once: the working arrays then fit the cache of a processor
_AT_ONCE = 2048
_A_V = np.linspace(0.0, 5.0, 51)


class StarLight(NamedTuple):
    """Light of galaxies without dust.

    Attributes
    ----------
    bands : dict of arrays of shape (...)
        Luminosity for each solar mass formed, in solar luminosities of the band, by band.
    age : array of shape (...), or None
        Mean age in Gyr weighted by the light in `AGE_BAND`; None if the library does not reach that band.
    """

    bands: dict[str, Array]
    age: Array | None


@dataclass(frozen=True, eq=False)
class Light:
    """Light of the populations of a library in broad bands.

    Attributes
    ----------
    library : str
        Name of the SSP library.
    ages_gyr, metallicities : arrays of shape (A,) and (Z,)
        Axes of the tables: ages in Gyr and [M/H] in dex, rising.
    bands : mapping of str to array of shape (A, Z)
        Luminosity for each solar mass formed in solar luminosities of the band, for some of `sfhflow.bands.BANDS`.
    """

    library: str
    ages_gyr: Array
    metallicities: Array
    bands: Mapping[str, Array]

    def of(
        self,
        times: ArrayLike,
        age_of_universe: ArrayLike,
        metallicity: ArrayLike,
        *,
        fractions: ArrayLike = FRACTIONS,
    ) -> StarLight:
        """Light of galaxies with a constant star formation rate between formation times.

        Parameters
        ----------
        times : array of shape (..., F)
            Cosmic times in Gyr at which `fractions` of the mass had formed, rising along the last axis.
        age_of_universe : float or array
            Gyr, at the time of observation; broadcast against (...).
        metallicity : array of shape (...)
            [M/H] in dex; beyond the table its ends count.
        fractions : array of shape (F,)
            Rising mass fractions from 0 to 1.
        """
        times = np.asarray(times, dtype=float)
        shape, mass = times.shape[:-1], np.diff(np.asarray(fractions, dtype=float))
        age, metallicity = (np.broadcast_to(x, shape).reshape(-1) for x in (age_of_universe, metallicity))
        times = times.reshape(-1, times.shape[-1])
        light = np.empty((len(times), len(self._channels)))
        for start in range(0, len(times), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            light[part] = self._combined(times[part], age[part], metallicity[part], mass)
        columns = {name: light[:, i].reshape(shape) for i, name in enumerate(self.bands)}
        mean_age = light[:, -1].reshape(shape) / columns[AGE_BAND] if AGE_BAND in columns else None
        return StarLight(columns, mean_age)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _AXES}
        tensors |= {f"band/{name}": np.ascontiguousarray(table) for name, table in self.bands.items()}
        Path(path).write_bytes(to_bytes(tensors, metadata={"library": self.library}))

    @classmethod
    def load(cls, path: str | Path) -> Light:
        """Read what `save` wrote; errors are those of safetensors, or a KeyError."""
        with safe_open(path, framework="numpy") as file:
            library = file.metadata()["library"]
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        axes = {name: tensors.pop(name) for name in _AXES}
        known = {name: tensors[f"band/{name}"] for name in BANDS if f"band/{name}" in tensors}
        return cls(library=library, **axes, bands=known)

    @property
    def _channels(self) -> tuple[str, ...]:
        return (*self.bands, *(("age",) if AGE_BAND in self.bands else ()))

    @cached_property
    def _integrals(self) -> Array:
        """Integrals of each channel up to the nodes of the grid, for neighbouring metallicities: (Z, G, 2, C)."""
        ages = (np.arange(np.sqrt(self.ages_gyr[-1]) * _CELLS + 3) / _CELLS) ** 2
        channels = [_integral(self.ages_gyr, table, ages, power=0) for table in self.bands.values()]
        if AGE_BAND in self.bands:
            channels.append(_integral(self.ages_gyr, self.bands[AGE_BAND], ages, power=1))
        table = np.moveaxis(np.stack(channels, axis=-1), 1, 0)
        above = np.concatenate([table[1:], table[-1:]])
        return np.ascontiguousarray(np.stack([table, above], axis=2))

    def _combined(self, times: Array, age_of_universe: Array, metallicity: Array, mass: Array) -> Array:
        """Light (n, C) of samples with `times` (n, F)."""
        ages = age_of_universe[:, None] - times
        np.maximum(ages, 0.0, out=ages)
        np.minimum(ages, self.ages_gyr[-1], out=ages)
        ages += _SHORTEST * np.arange(ages.shape[1], 0, -1)
        cells, inside = _places(metallicity, self.metallicities)
        integrals = self._integrals
        n_nodes, (n_sides, n_channels) = integrals.shape[1], integrals.shape[2:]
        rows = integrals.reshape(-1, n_sides * n_channels)
        position = np.sqrt(ages)
        position *= _CELLS
        node = position.astype(np.intp)
        position -= node
        node += cells[:, None] * n_nodes
        weight = mass / (ages[:, :-1] - ages[:, 1:])
        at_edge = np.concatenate([weight, np.zeros_like(weight[:, :1])], axis=1)
        at_edge[:, 1:] -= weight
        position *= at_edge
        at_edge -= position
        # products of a row and a matrix, far cheaper than the same sums by broadcasting
        light = at_edge[:, None] @ rows.take(node, axis=0)
        node += 1
        light += position[:, None] @ rows.take(node, axis=0)
        light = light.reshape(-1, n_sides, n_channels)
        return light[:, 0] + inside[:, None] * (light[:, 1] - light[:, 0])


def attenuation(band: str, a_v: Array) -> Array:
    """Attenuation of the light in a band in mag, by the law of Calzetti et al. (2000).

    The mean is taken over a flux density that falls as the root of the wavelength, between those of old and young
    stars; the colours of stellar populations change it by less than a hundredth up to A_V = 3.

    Parameters
    ----------
    band : str
        Name in `sfhflow.bands.BANDS`.
    a_v : array of any shape
        Attenuation at 5500 Angstrom in mag.
    """
    return np.interp(a_v, _A_V, _attenuations(band))


@cache
def _attenuations(band: str) -> Array:
    wavelength = BANDS[band].wavelength
    through = calzetti(torch.as_tensor(wavelength), torch.as_tensor(_A_V)).numpy()
    mean = BANDS[band].mean_flux(wavelength, np.stack([through[0], *through]) / np.sqrt(wavelength))
    return -2.5 * np.log10(mean[1:] / mean[0])


def _places(values: Array, nodes: Array) -> tuple[NDArray[np.intp], Array]:
    """Lower node of the cell of each value, and the place in the cell in [0, 1]."""
    position = np.interp(values, nodes, np.arange(len(nodes)))
    cells = position.astype(np.intp)
    return cells, position - cells


def _integral(nodes: Array, table: Array, ages: Array, *, power: int) -> Array:
    r"""Integral (G, Z) of :math:`t^p\, l(t)` from 0 to `ages` (G,), for `table` (A, Z) at ages `nodes` (A,).

    Within a cell :math:`l = a + b \ln t`, and with :math:`q = p + 1` the antiderivative is
    :math:`t^q (a + b \ln t - b / q) / q`.
    """
    q = power + 1
    log_nodes = np.log(nodes)
    # constant before the first node and after the last
    slope = np.zeros((len(nodes) + 1, table.shape[1]))
    slope[1:-1] = np.diff(table, axis=0) / np.diff(log_nodes)[:, None]
    offset = np.concatenate([table[:1], table]) - slope * np.concatenate([log_nodes[:1], log_nodes])[:, None]

    def antiderivative(cell: NDArray[np.intp], t: Array) -> Array:
        log_t = np.log(np.maximum(t, 1e-30))[:, None]
        return t[:, None] ** q * (offset[cell] + slope[cell] * (log_t - 1 / q)) / q

    cell = np.arange(len(nodes) + 1)
    starts = np.concatenate([[0.0], nodes])
    whole = antiderivative(cell[:-1], nodes) - antiderivative(cell[:-1], starts[:-1])
    before = np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(whole, axis=0)])
    found = np.searchsorted(nodes, ages, side="right")
    return before[found] + antiderivative(found, ages) - antiderivative(found, starts[found])
