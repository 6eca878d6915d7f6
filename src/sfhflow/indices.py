r"""Line-strength indices: how deep an absorption feature is against a continuum drawn between two side bands.

With the mean flux :math:`F_b, F_r` of the blue and the red side band, and the straight line *C* through them at
the middles of the bands, the index over the central band :math:`[\lambda_1, \lambda_2]` is

.. math:: \mathrm{EW} = \int_{\lambda_1}^{\lambda_2} \left(1 - \frac{F}{C}\right) d\lambda
          \quad \text{[Angstrom]}, \qquad
          M = -2.5 \log_{10} \frac{1}{\lambda_2 - \lambda_1} \int_{\lambda_1}^{\lambda_2} \frac{F}{C}\, d\lambda
          \quad \text{[mag]}

(Worthey et al. 1994, ApJS 94, 687, eqs. 1 to 3); absorption is positive.  A break is the ratio of the mean
:math:`F_\nu \propto \lambda^2 F_\lambda` of two bands, red over blue.  The flux of a pixel is its mean over the
pixel, so that a pixel at the edge of a band counts with the part that lies inside.

Indices depend on the resolution: broaden spectra to a common one before they are compared.  The bands are in
rest-frame air wavelengths.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError
from sfhflow.grid import pixel_edges

__all__ = ["INDEX_NAMES", "SPECTRAL_INDICES", "BreakIndex", "LineIndex", "measure_indices"]

Array = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class LineIndex:
    """An absorption feature between two side bands.

    Attributes
    ----------
    blue, band, red : (float, float)
        Blue side band, central band and red side band in Angstrom, air.
    unit : {"Angstrom", "mag"}
        Equivalent width, or magnitude for molecular bands.
    """

    blue: Interval
    band: Interval
    red: Interval
    unit: str = "Angstrom"

    def measure(self, wavelength: Array, flux: Array) -> Array:
        """Index (...) of spectra (..., L) at rest-frame air wavelengths (L,); NaN if a band is not covered."""
        edges = pixel_edges(wavelength)
        low, high = _mean(edges, flux, self.blue), _mean(edges, flux, self.red)
        pixels, widths, centres = _parts(edges, self.band)
        if not len(widths):
            return np.full(flux.shape[:-1], np.nan)
        middles = [0.5 * sum(side) for side in (self.blue, self.red)]
        fraction = (centres - middles[0]) / (middles[1] - middles[0])
        continuum = low[..., None] + (high - low)[..., None] * fraction
        with np.errstate(divide="ignore", invalid="ignore"):
            transmitted = (flux[..., pixels] / continuum) @ widths
            if self.unit == "mag":
                return -2.5 * np.log10(transmitted / widths.sum())
        return widths.sum() - transmitted


@dataclass(frozen=True)
class BreakIndex:
    """A step in the continuum: mean flux per frequency of the red band over that of the blue one.

    Attributes
    ----------
    blue, red : (float, float)
        Bands in Angstrom, air.
    """

    blue: Interval
    red: Interval
    unit: str = ""

    def measure(self, wavelength: Array, flux: Array) -> Array:
        """Index (...) of spectra (..., L) at rest-frame air wavelengths (L,); NaN if a band is not covered."""
        edges, per_frequency = pixel_edges(wavelength), flux * wavelength**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return _mean(edges, per_frequency, self.red) / _mean(edges, per_frequency, self.blue)


SPECTRAL_INDICES: dict[str, LineIndex | BreakIndex] = {
    # Bruzual (1983, ApJ 273, 105); Balogh et al. (1999, ApJ 527, 54)
    "D4000": BreakIndex((3750.0, 3950.0), (4050.0, 4250.0)),
    "Dn4000": BreakIndex((3850.0, 3950.0), (4000.0, 4100.0)),
    # Worthey & Ottaviani (1997, ApJS 111, 377)
    "HdeltaA": LineIndex((4041.600, 4079.750), (4083.500, 4122.250), (4128.500, 4161.000)),
    "HdeltaF": LineIndex((4057.250, 4088.500), (4091.000, 4112.250), (4114.750, 4137.250)),
    "HgammaA": LineIndex((4283.500, 4319.750), (4319.750, 4363.500), (4367.250, 4419.750)),
    "HgammaF": LineIndex((4283.500, 4319.750), (4331.250, 4352.250), (4354.750, 4384.750)),
    # Cervantes & Vazdekis (2009, MNRAS 392, 691)
    "Hbeta_o": LineIndex((4821.175, 4838.404), (4839.275, 4877.097), (4897.445, 4915.845)),
    # Trager et al. (1998, ApJS 116, 1)
    "CN1": LineIndex((4080.125, 4117.625), (4142.125, 4177.125), (4244.125, 4284.125), "mag"),
    "CN2": LineIndex((4083.875, 4096.375), (4142.125, 4177.125), (4244.125, 4284.125), "mag"),
    "Ca4227": LineIndex((4211.000, 4219.750), (4222.250, 4234.750), (4241.000, 4251.000)),
    "G4300": LineIndex((4266.375, 4282.625), (4281.375, 4316.375), (4318.875, 4335.125)),
    "Fe4383": LineIndex((4359.125, 4370.375), (4369.125, 4420.375), (4442.875, 4455.375)),
    "Ca4455": LineIndex((4445.875, 4454.625), (4452.125, 4474.625), (4477.125, 4492.125)),
    "Fe4531": LineIndex((4504.250, 4514.250), (4514.250, 4559.250), (4560.500, 4579.250)),
    "C4668": LineIndex((4611.500, 4630.250), (4634.000, 4720.250), (4742.750, 4756.500)),
    "Hbeta": LineIndex((4827.875, 4847.875), (4847.875, 4876.625), (4876.625, 4891.625)),
    "Fe5015": LineIndex((4946.500, 4977.750), (4977.750, 5054.000), (5054.000, 5065.250)),
    "Mg1": LineIndex((4895.125, 4957.625), (5069.125, 5134.125), (5301.125, 5366.125), "mag"),
    "Mg2": LineIndex((4895.125, 4957.625), (5154.125, 5196.625), (5301.125, 5366.125), "mag"),
    "Mgb": LineIndex((5142.625, 5161.375), (5160.125, 5192.625), (5191.375, 5206.375)),
    "Fe5270": LineIndex((5233.150, 5248.150), (5245.650, 5285.650), (5285.650, 5318.150)),
    "Fe5335": LineIndex((5304.625, 5315.875), (5312.125, 5352.125), (5353.375, 5363.375)),
    "Fe5406": LineIndex((5376.250, 5387.500), (5387.500, 5415.000), (5415.000, 5425.000)),
    "Fe5709": LineIndex((5672.875, 5696.625), (5696.625, 5720.375), (5722.875, 5736.625)),
    "Fe5782": LineIndex((5765.375, 5775.375), (5776.625, 5796.625), (5797.875, 5811.625)),
    "NaD": LineIndex((5860.625, 5875.625), (5876.875, 5909.375), (5922.125, 5948.125)),
    "TiO1": LineIndex((5816.625, 5849.125), (5936.625, 5994.125), (6038.625, 6103.625), "mag"),
    "TiO2": LineIndex((6066.625, 6141.625), (6189.625, 6272.125), (6372.625, 6415.125), "mag"),
}
"""Indices by name: breaks, Balmer lines and the Lick/IDS set."""

# weights of the iron indices in the combinations with Mgb
_WITH_IRON = {
    "[MgFe]": (0.5, 0.5),  # González (1993, PhD thesis, University of California, Santa Cruz)
    "[MgFe]'": (0.72, 0.28),  # Thomas, Maraston & Bender (2003, MNRAS 339, 897)
}

INDEX_NAMES = (*SPECTRAL_INDICES, *_WITH_IRON)
"""Names that `measure_indices` knows."""


def measure_indices(
    wavelength: ArrayLike, flux: ArrayLike, names: Iterable[str] = INDEX_NAMES
) -> dict[str, Array]:
    r"""Measure indices of many spectra at once.

    Parameters
    ----------
    wavelength : array of shape (L,)
        Centres of the pixels in Angstrom, rest frame, air, rising.
    flux : array of shape (..., L)
        Mean flux of each pixel per Angstrom, in any unit.
    names : iterable of str
        Keys of `SPECTRAL_INDICES`, or the combinations ``[MgFe]`` and ``[MgFe]'``, which are
        :math:`\sqrt{\mathrm{Mgb}\,(a\,\mathrm{Fe5270} + b\,\mathrm{Fe5335})}` in Angstrom.

    Returns
    -------
    dict of arrays of shape (...)
        NaN where a band is not wholly covered by the wavelengths, holds a flux that is NaN, or the formula has
        no value.

    Raises
    ------
    InputError
        If a name is unknown, or the wavelengths do not rise or do not match the flux.
    """
    wavelength, flux = np.asarray(wavelength, dtype=float), np.asarray(flux, dtype=float)
    if wavelength.ndim != 1 or len(wavelength) < 2 or not np.all(np.diff(wavelength) > 0):
        raise InputError(
            f"wavelength: found shape {wavelength.shape}, expected one rising row of at least two; sort the pixels"
        )
    if flux.shape[-1:] != wavelength.shape:
        raise InputError(
            f"flux: found shape {flux.shape}, expected {len(wavelength)} pixels along the last axis, as in the "
            "wavelengths; give one flux for each"
        )
    return {name: _measure(name, wavelength, flux) for name in names}


def _measure(name: str, wavelength: Array, flux: Array) -> Array:
    if name in SPECTRAL_INDICES:
        return SPECTRAL_INDICES[name].measure(wavelength, flux)
    if name not in _WITH_IRON:
        raise InputError(f"there is no index {name!r}, expected one of {', '.join(INDEX_NAMES)}; correct the name")
    magnesium, *iron = (_measure(line, wavelength, flux) for line in ("Mgb", "Fe5270", "Fe5335"))
    with np.errstate(invalid="ignore"):
        return np.sqrt(magnesium * (_WITH_IRON[name][0] * iron[0] + _WITH_IRON[name][1] * iron[1]))


def _parts(edges: Array, band: Interval) -> tuple[slice, Array, Array]:
    """Pixels that overlap a band, the width and the middle of each overlap; none if the band is not covered."""
    if not (edges[0] <= band[0] and band[1] <= edges[-1]):
        return slice(0, 0), np.empty(0), np.empty(0)
    first = int(np.searchsorted(edges, band[0], side="right")) - 1
    last = int(np.searchsorted(edges, band[1], side="left"))
    inside = np.clip(edges[first : last + 1], *band)
    return slice(first, last), np.diff(inside), 0.5 * (inside[1:] + inside[:-1])


def _mean(edges: Array, flux: Array, band: Interval) -> Array:
    """Mean flux (...) in a band, NaN if it is not covered."""
    pixels, widths, _ = _parts(edges, band)
    if not len(widths):
        return np.full(flux.shape[:-1], np.nan)
    return flux[..., pixels] @ widths / widths.sum()
