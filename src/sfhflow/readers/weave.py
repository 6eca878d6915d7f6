r"""WEAVE spectra of level 1, one arm: row-stacked fibre spectra, and cubes spaxel by spaxel.

For an arm X (BLUE or RED) HDU ``X_DATA`` holds the sky-subtracted counts (fibres, n), or (n, y, x) in a cube,
``X_IVAR`` their inverse variance, and ``X_SENSFUNC`` what counts are to be multiplied by to be fluxes, a
value a pixel or one a fibre and pixel, so that

.. math:: F = S D, \qquad w = w_D / S^2 .

``X_DATA_NOSS`` and ``X_IVAR_NOSS``, without sky subtraction, are not used.  The wavelengths are those of the
header of ``X_DATA`` (CRVAL, CD), in the medium that CTYPE names.  ``FIBTABLE`` has a row a fibre with the
target's name.  The files state neither redshift nor resolution.

The layout is that of simulated and early data as read by public software (pykoala, pycasso2, SQUEzE); that of
the public release may differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.cubes import check_shape, covered, spectrum_at
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra, RawSpectrum
from sfhflow.readers.wcs1d import axis_medium, wavelengths

__all__ = ["NAME", "identify", "read"]

NAME = "weave"
_ARMS = ("BLUE", "RED", "GREEN")
_NAME_COLUMNS = ("targname", "targid", "cname")


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has the data and inverse variances of an arm."""
    return bool(_arms(opened))


def read(opened: OpenedFile) -> RawSpectra:
    """Read all fibres or spaxels that have data.

    Raises
    ------
    SpectrumError
        If the file holds several arms, or an HDU is missing or of another shape.
    """
    arm, where = _only_arm(opened), str(opened.path)
    header, data, ivar = opened.hdu(f"{arm}_DATA").header, opened.image(f"{arm}_DATA"), opened.image(f"{arm}_IVAR")
    check_shape(where, f"{arm}_IVAR", ivar, data.shape)
    is_cube = data.ndim == 3
    axis = 3 if is_cube else 1
    wavelength = wavelengths(header, header[f"NAXIS{axis}"], where=where, axis=axis)
    sensitivity, names = opened.image(f"{arm}_SENSFUNC"), _target_names(opened, data.shape)

    def make(i: int) -> RawSpectrum:
        factor = _factor(sensitivity, i, is_cube=is_cube)
        flux, weight = (spectrum_at(data, i), spectrum_at(ivar, i)) if is_cube else (data[i], ivar[i])
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(factor > 0, weight / factor**2, 0.0)
        return RawSpectrum(
            wavelength=wavelength,
            flux=flux * factor,
            ivar=weight,
            medium=axis_medium(header, axis),
            flux_unit=str(opened.hdu(f"{arm}_SENSFUNC").header.get("BUNIT", "")),
            hint="(WEAVE's level 1 has none)",
            meta={"arm": arm.lower(), **({"target": names[i]} if names else {})},
        )

    return RawSpectra(covered(data, ivar) if is_cube else range(len(data)), make)


def _arms(opened: OpenedFile) -> list[str]:
    names = {hdu.name for hdu in opened.hdus or () if hdu.is_image}
    return [arm for arm in _ARMS if {f"{arm}_DATA", f"{arm}_IVAR"} <= names]


def _only_arm(opened: OpenedFile) -> str:
    arms = _arms(opened)
    if len(arms) > 1:
        raise SpectrumError(
            f"{opened.path}: found the arms {' and '.join(arms)}, expected one arm a file; join them and give a "
            "table with wavelength, flux and error"
        )
    return arms[0]


def _factor(sensitivity: NDArray[Any], number: int, *, is_cube: bool) -> NDArray[np.float64]:
    """Return what the counts of a spectrum are to be multiplied by, shape (n,)."""
    one = sensitivity if sensitivity.ndim == 1 or is_cube else sensitivity[number]
    return np.asarray(one, dtype=float)


def _target_names(opened: OpenedFile, shape: tuple[int, ...]) -> list[str]:
    for hdu, columns in opened.tables():
        found = next((columns[key] for key in _NAME_COLUMNS if key in columns), None)
        if found and len(shape) == 2 and len(hdu.data) == shape[0]:
            return [str(name).strip() for name in hdu.data[found]]
    return []
