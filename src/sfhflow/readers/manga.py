r"""MaNGA spectra: row-stacked spectra, and data cubes spaxel by spaxel.

HDUs ``WAVE`` (n,) in vacuum, ``FLUX``, ``IVAR`` and ``MASK`` of shape (rows, n), or (n, y, x) in a cube, in
units of 1e-17 erg/s/cm2/A.  The resolution is ``SRES`` (lambda / FWHM), or follows from ``LSFPOST`` or
``DISP``, the dispersion in Angstrom, :math:`R = \lambda / (2.3548\, \sigma)`, or is ``SPECRES`` (n,).
An HDU ``Z`` holds a redshift a row; the pipeline's own files have none.  Pixels are masked if their inverse
variance is zero or a bit of `sfhflow.readers.bits.DRP3PIXMASK_BAD` is set.  In a cube a spectrum's index
is y * n_x + x, and spaxels without any data are left out.

Source: Law et al. 2016, AJ 152, 83; Law et al. 2021, AJ 161, 52 (the line-spread function).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.readers.bits import DRP3PIXMASK_BAD, flagged
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import FWHM_PER_SIGMA, RawSpectrum

__all__ = ["NAME", "identify", "read"]

NAME = "manga"
_FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has images called FLUX and WAVE."""
    hdus = (opened.hdu("FLUX"), opened.hdu("WAVE"))
    return all(hdu is not None and hdu.is_image for hdu in hdus)


def read(opened: OpenedFile) -> list[RawSpectrum]:
    """Read all rows, or all spaxels that have data.

    Raises
    ------
    SpectrumError
        If there are no inverse variances or no mask.
    """
    wavelength = np.asarray(opened.image("WAVE"), dtype=float)
    flux, ivar = _rows(opened.image("FLUX")), _rows(opened.image("IVAR"))
    # required: a download that broke off between two HDUs leaves no other trace
    mask = _rows(opened.image("MASK"))
    is_cube = opened.image("FLUX").ndim == 3
    return [
        RawSpectrum(
            wavelength=wavelength,
            flux=flux[i],
            ivar=ivar[i],
            mask=flagged(mask[i], DRP3PIXMASK_BAD),
            resolution=_resolution(opened, i, wavelength),
            redshift=_redshift(opened, i),
            medium="vacuum",
            flux_unit=_FLUX_UNIT,
            index=i,
            hint="(no HDU Z)",
        )
        for i in range(len(flux))
        if not is_cube or np.any(ivar[i] > 0)
    ]


def _rows(data: NDArray[Any]) -> NDArray[Any]:
    """View an image (n,), (rows, n) or (n, y, x) as rows of spectra."""
    return data.reshape(data.shape[0], -1).T if data.ndim == 3 else np.atleast_2d(data)


def _resolution(opened: OpenedFile, row: int, wavelength: NDArray[np.float64]) -> Any:
    if opened.hdu("SRES") is not None:
        return _rows(opened.image("SRES"))[row]
    for name in ("LSFPOST", "DISP"):
        if opened.hdu(name) is not None:
            with np.errstate(divide="ignore"):
                return wavelength / (FWHM_PER_SIGMA * _rows(opened.image(name))[row])
    return opened.image("SPECRES") if opened.hdu("SPECRES") is not None else None


def _redshift(opened: OpenedFile, row: int) -> Any:
    if opened.hdu("Z") is None:
        return None
    redshift = np.ravel(opened.image("Z"))
    return redshift[row if len(redshift) > 1 else 0]
