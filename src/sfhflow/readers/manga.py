r"""MaNGA spectra: row-stacked spectra, and data cubes spaxel by spaxel.

HDUs ``WAVE`` (n,) in vacuum, ``FLUX``, ``IVAR`` and ``MASK`` of shape (rows, n), or (n, y, x) in a cube, in
units of 1e-17 erg/s/cm2/A.  The resolution is ``SRES`` (lambda / FWHM), or follows from ``LSFPOST`` or
``DISP``, the dispersion in Angstrom, :math:`R = \lambda / (2.3548\, \sigma)`, or is ``SPECRES`` (n,).
The redshift is an HDU ``Z`` with one a row, or a keyword of the primary header: ``SCINPVEL`` (cz in km/s, the
velocity that the analysis pipeline started from), ``NSA_Z``, ``Z`` or ``REDSHIFT``; the reduction pipeline's
own files have none.  Pixels are masked if their inverse variance is zero or a bit of
`sfhflow.readers.bits.DRP3PIXMASK_BAD` is set.  In a cube a spectrum's number is y * n_x + x, and spaxels
without any data are left out.

Source: Law et al. 2016, AJ 152, 83; Law et al. 2021, AJ 161, 52 (the line-spread function).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.readers.bits import DRP3PIXMASK_BAD, flagged
from sfhflow.readers.cubes import covered, spectrum_at
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import FWHM_PER_SIGMA, SPEED_OF_LIGHT_KMS, RawSpectra, RawSpectrum

__all__ = ["FLUX_UNIT", "NAME", "header_redshift", "identify", "read", "resolving_power"]

NAME = "manga"
FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"
_DISPERSIONS = ("LSFPOST", "LSF", "DISP")
_REDSHIFT_KEYS = ("NSA_Z", "Z", "REDSHIFT")


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has images called FLUX and WAVE."""
    hdus = (opened.hdu("FLUX"), opened.hdu("WAVE"))
    return all(hdu is not None and hdu.is_image for hdu in hdus)


def read(opened: OpenedFile) -> RawSpectra:
    """Read all rows, or all spaxels that have data.

    Raises
    ------
    SpectrumError
        If there are no inverse variances or no mask.
    """
    flux, ivar = opened.image("FLUX"), opened.image("IVAR")
    # required: a download that broke off between two HDUs leaves no other trace
    mask = opened.image("MASK")
    wavelength = np.asarray(opened.image("WAVE"), dtype=float)
    stated = header_redshift(opened)
    numbers = covered(flux, ivar) if flux.ndim == 3 else range(len(np.atleast_2d(flux)))
    return RawSpectra(
        numbers,
        lambda i: RawSpectrum(
            wavelength=wavelength,
            flux=_row(flux, i),
            ivar=_row(ivar, i),
            mask=flagged(_row(mask, i), DRP3PIXMASK_BAD),
            resolution=resolving_power(opened, i, wavelength),
            redshift=_redshift(opened, i, stated),
            medium="vacuum",
            flux_unit=FLUX_UNIT,
            hint="(no HDU Z, no SCINPVEL, NSA_Z or Z in the header)",
        ),
    )


def resolving_power(opened: OpenedFile, number: int, wavelength: NDArray[np.float64]) -> Any:
    """Return lambda / FWHM (n,) of a row or spaxel, or None if the file does not tell."""
    if opened.hdu("SRES") is not None:
        return _row(opened.image("SRES"), number)
    for name in _DISPERSIONS:
        if opened.hdu(name) is not None:
            with np.errstate(divide="ignore"):
                return wavelength / (FWHM_PER_SIGMA * _row(opened.image(name), number))
    return opened.image("SPECRES") if opened.hdu("SPECRES") is not None else None


def header_redshift(opened: OpenedFile) -> Any:
    """Return the redshift that the primary header states, or None."""
    header = opened.hdus[0].header  # type: ignore[index]
    velocity = header.get("SCINPVEL")
    if isinstance(velocity, int | float):
        return velocity / SPEED_OF_LIGHT_KMS
    return next((header[key] for key in _REDSHIFT_KEYS if key in header), None)


def _row(data: NDArray[Any], number: int) -> NDArray[Any]:
    """Return one spectrum of an image (n,), (rows, n) or (n, y, x)."""
    return spectrum_at(data, number) if data.ndim == 3 else np.atleast_2d(data)[number]


def _redshift(opened: OpenedFile, row: int, stated: Any) -> Any:
    if opened.hdu("Z") is None:
        return stated
    redshift = np.ravel(opened.image("Z"))
    return redshift[row if len(redshift) > 1 else 0]
