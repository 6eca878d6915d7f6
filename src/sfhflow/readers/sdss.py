r"""SDSS, BOSS, eBOSS and SDSS-V spectra: ``spec-PLATE-MJD-FIBER.fits``, full or lite.

HDU 1 (COADD) is a table a pixel: ``flux`` and ``ivar`` in units of 1e-17 erg/s/cm2/A, ``loglam``
(:math:`\log_{10}` of the heliocentric vacuum wavelength), ``and_mask`` and ``wdisp``, the dispersion of the
line-spread function in pixels of :math:`\Delta = 10^{-4}` dex, so that

.. math:: R = \lambda / \mathrm{FWHM} = 1 / (2.3548\, w\, \Delta \ln 10).

Column names count in any case; ``wresl``, which SDSS-V adds, is not used.  A one-row table (SPECOBJ or SPALL)
holds the redshift ``Z`` and the class.  Pixels are masked if ``ivar`` is zero or a bit of
`sfhflow.readers.bits.SPPIXMASK_BAD` is set in ``and_mask``.

Source: SDSS data model, ``BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html``;
Bolton et al. 2012, AJ 144, 144.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sfhflow.errors import SpectrumError
from sfhflow.readers.bits import SPPIXMASK_BAD, flagged
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import FWHM_PER_SIGMA, RawSpectra, RawSpectrum

__all__ = ["NAME", "identify", "read"]

NAME = "sdss"
_FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has an SDSS coadd table."""
    return _coadd(opened) is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read the coadded spectrum.

    Raises
    ------
    SpectrumError
        If the coadd table has no inverse variances.
    """
    hdu, columns = _coadd(opened)
    if "ivar" not in columns:
        raise SpectrumError(
            f"{opened.path}: HDU {hdu.name} has no column ivar, expected the error of each pixel; "
            "download the file again"
        )
    data = hdu.data
    loglam = np.asarray(data[columns["loglam"]], dtype=float)
    redshift, meta = _redshift(opened)
    return RawSpectra.of(
        RawSpectrum(
            wavelength=np.power(10.0, np.clip(loglam, -99.0, 99.0)),
            flux=data[columns["flux"]],
            ivar=data[columns["ivar"]],
            mask=flagged(data[columns["and_mask"]], SPPIXMASK_BAD) if "and_mask" in columns else None,
            resolution=_resolution(data[columns["wdisp"]], loglam) if "wdisp" in columns else None,
            redshift=redshift,
            medium="vacuum",
            flux_unit=_FLUX_UNIT,
            hint="(no table with a column Z)",
            meta=meta,
        )
    )


def _coadd(opened: OpenedFile) -> Any:
    for hdu, columns in opened.tables():
        if {"flux", "loglam"} <= columns.keys() and (hdu.name == "COADD" or "and_mask" in columns):
            return hdu, columns
    return None


def _resolution(wdisp: Any, loglam: Any) -> Any:
    # over the whole grid: single steps suffer from loglam being stored in single precision
    step_dex = (loglam[-1] - loglam[0]) / max(len(loglam) - 1, 1)
    sigma_lnlam = np.asarray(wdisp, dtype=float) * step_dex * np.log(10.0)
    with np.errstate(divide="ignore"):
        return 1.0 / (FWHM_PER_SIGMA * sigma_lnlam)


def _redshift(opened: OpenedFile) -> tuple[Any, dict[str, str]]:
    for hdu, columns in opened.tables():
        if "z" in columns and len(hdu.data) == 1:
            row = hdu.data[0]
            keys = columns.keys() & {"class", "zwarning"}
            kept = {key: str(row[columns[key]]).strip() for key in sorted(keys)}
            return row[columns["z"]], kept
    return None, {}
