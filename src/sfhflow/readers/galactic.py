r"""Remove the reddening by the dust of the Milky Way.

Light at the observed wavelength :math:`\lambda` has lost :math:`A(\lambda) = k(\lambda)\, E(B-V)` magnitudes,

.. math:: F = F_\mathrm{obs}\, 10^{0.4 A(\lambda)}, \qquad w = w_\mathrm{obs}\, 10^{-0.8 A(\lambda)} ,

with the mean extinction curve of the diffuse Galaxy, :math:`R_V = 3.1`: a cubic spline in
:math:`x = 1/\lambda` through the anchors of the paper from the infrared to 2600 A, and beyond 2700 A, with
:math:`D = x^2 / ((x^2 - x_0^2)^2 + \gamma^2 x^2)`,

.. math:: k(x) = R_V + c_1 + c_2 x + c_3 D(x) + c_4 (0.5392 (x - 5.9)^2 + 0.05644 (x - 5.9)^3) ,

the last term for x > 5.9 / micron.  :math:`E(B-V)` on the scale of Schlafly & Finkbeiner 2011 is 0.86 times
that of the maps of Schlegel et al. 1998.  The model's own dust attenuation is that of the galaxy and stays.

Source: Fitzpatrick 1999, PASP 111, 63, table 3 and appendix; Schlafly & Finkbeiner 2011, ApJ 737, 103.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import SpectrumError
from sfhflow.spectrum import Spectrum

__all__ = ["deredden", "milky_way_extinction"]

_R_V = 3.1
# 1 / micron and A / E(B-V), table 3 for R_V = 3.1; the last two anchors follow from the ultraviolet formula
_ANCHOR_X = np.array([0.0, 1 / 2.65, 1 / 1.22, 1 / 0.6, 1 / 0.547, 1 / 0.467, 1 / 0.411, 1 / 0.27, 1 / 0.26])
_ANCHOR_K = np.array([0.0, 0.265, 0.829, 2.688, 3.055, 3.806, 4.315])
_UV_X = 1 / 0.27
_X0, _GAMMA, _C3, _C4 = 4.596, 0.99, 3.23, 0.41
_C2 = -0.824 + 4.717 / _R_V
_C1 = 2.030 - 3.007 * _C2
_SHORTEST_AA = 1000.0
# beyond, it was surely meant as A_V or the galaxy lies behind the Galactic plane
_MAX_EBV = 3.0


def deredden(spectrum: Spectrum, ebv: float) -> Spectrum:
    """Correct a spectrum for the dust of the Milky Way.

    Parameters
    ----------
    spectrum : Spectrum
        With observed-frame wavelengths; a spectrum shifted to the rest frame has to be corrected before that.
    ebv : float
        Colour excess E(B-V) in magnitudes towards the galaxy, 0.86 times that of Schlegel et al. 1998.

    Returns
    -------
    Spectrum
        With flux and inverse variance corrected, and `meta` saying so.

    Raises
    ------
    SpectrumError
        If E(B-V) makes no sense, the spectrum is already corrected, or it begins below 1000 Angstrom.

    Notes
    -----
    Fitzpatrick 1999, PASP 111, 63, R_V = 3.1.
    """
    if not (np.isfinite(ebv) and 0 <= ebv <= _MAX_EBV):
        raise SpectrumError(
            f"--ebv is {ebv:g}, expected E(B-V) of the Milky Way between 0 and {_MAX_EBV:g} magnitudes; "
            "divide A_V by 3.1, or leave it out"
        )
    if "ebv" in spectrum.meta:
        raise SpectrumError(
            f"{spectrum.name}: found a correction for E(B-V) = {spectrum.meta['ebv']} already, expected none; "
            "correct only once"
        )
    if spectrum.wavelength[0] < _SHORTEST_AA:
        raise SpectrumError(
            f"{spectrum.name}: wavelengths begin at {spectrum.wavelength[0]:.0f} Angstrom, expected at least "
            f"{_SHORTEST_AA:.0f} as the extinction curve; cut the spectrum or leave out --ebv"
        )
    factor = 10 ** (0.4 * ebv * milky_way_extinction(spectrum.wavelength))
    return replace(
        spectrum,
        flux=spectrum.flux * factor,
        ivar=spectrum.ivar / factor**2,
        meta={**spectrum.meta, "ebv": f"{ebv:g}", "extinction_curve": "Fitzpatrick 1999, R_V = 3.1"},
    )


def milky_way_extinction(wavelength: ArrayLike) -> NDArray[np.float64]:
    """Return the extinction curve of the diffuse Milky Way.

    Parameters
    ----------
    wavelength : array
        Wavelength in Angstrom, 1000 or more.

    Returns
    -------
    array of the same shape
        A(lambda) / E(B-V) in magnitudes a magnitude, for R_V = 3.1.

    Notes
    -----
    Fitzpatrick 1999, PASP 111, 63.
    """
    x = 1e4 / np.asarray(wavelength, dtype=float)
    ends = _ultraviolet(_ANCHOR_X[len(_ANCHOR_K) :])
    optical = _natural_spline(_ANCHOR_X, np.concatenate([_ANCHOR_K, ends]), np.minimum(x, _ANCHOR_X[-1]))
    return np.where(x < _UV_X, optical, _ultraviolet(x))


def _ultraviolet(x: NDArray[np.float64]) -> NDArray[np.float64]:
    drude = x**2 / ((x**2 - _X0**2) ** 2 + (_GAMMA * x) ** 2)
    far = np.maximum(x - 5.9, 0.0)
    return _R_V + _C1 + _C2 * x + _C3 * drude + _C4 * (0.5392 * far**2 + 0.05644 * far**3)


def _natural_spline(
    knots: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate with the cubic spline whose second derivative is zero at both ends."""
    step = np.diff(knots)
    slopes = np.diff(values) / step
    # the second derivatives at the inner knots solve a tridiagonal system
    system = np.diag(2 * (step[:-1] + step[1:])) + np.diag(step[1:-1], 1) + np.diag(step[1:-1], -1)
    second = np.concatenate([[0.0], np.linalg.solve(system, 6 * np.diff(slopes)), [0.0]])
    i = np.clip(np.searchsorted(knots, at) - 1, 0, len(step) - 1)
    right, left = (at - knots[i]) / step[i], (knots[i + 1] - at) / step[i]
    bend = ((left**3 - left) * second[i] + (right**3 - right) * second[i + 1]) * step[i] ** 2 / 6
    return left * values[i] + right * values[i + 1] + bend
