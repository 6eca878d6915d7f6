r"""Old SDSS spectra: ``spSpec-MJD-PLATE-FIBER.fit`` of data releases 1 to 7.

The primary image has a row each for flux, continuum-subtracted flux, error and mask, on the vacuum grid
:math:`\log_{10} \lambda_i = \mathrm{COEFF0} + i\, \mathrm{COEFF1}`; the redshift is the header's ``Z``.  The
last table has ``dispersion``, the width of the line-spread function in pixels, and ``andMask``.  The mask is
the AND mask of newer files plus a mark of emission lines (bit 30), which is no defect; a pixel is bad if its
error is zero or a bit of `sfhflow.readers.bits.SPPIXMASK_BAD` is set.

Source: SDSS DR7 data model, ``spSpec.html``; Stoughton et al. 2002, AJ 123, 485.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sfhflow.readers.bits import SPPIXMASK_BAD, flagged
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import FWHM_PER_SIGMA, RawSpectra, RawSpectrum, ivar_from_error

__all__ = ["NAME", "identify", "read"]

NAME = "spspec"
_FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"
_FLUX_ROW, _ERROR_ROW, _MASK_ROW = 0, 2, 3
# plates of 640 or 1000 fibres (spPlate) have the same keywords
_MAX_ROWS = 5
_CLASSES = {0: "UNKNOWN", 1: "STAR", 2: "GALAXY", 3: "QSO", 4: "HIZ_QSO", 5: "SKY", 6: "STAR_LATE"}


def identify(opened: OpenedFile) -> bool:
    """Tell whether the primary image has the rows and the grid of a spSpec file."""
    if not opened.hdus:
        return False
    header = opened.hdus[0].header
    has_grid = {"COEFF0", "COEFF1"} <= set(header) and header.get("NAXIS") == 2
    return has_grid and _MASK_ROW < header["NAXIS2"] <= _MAX_ROWS


def read(opened: OpenedFile) -> RawSpectra:
    """Read the spectrum.

    Raises
    ------
    SpectrumError
        If an error is negative.
    """
    header, rows = opened.hdus[0].header, opened.hdus[0].data  # type: ignore[index]
    loglam = header["COEFF0"] + header["COEFF1"] * np.arange(rows.shape[1])
    mask, resolution = flagged(rows[_MASK_ROW], SPPIXMASK_BAD), None
    pixels = _pixel_table(opened, len(loglam))
    if pixels is not None:
        mask |= flagged(pixels["andMask"], SPPIXMASK_BAD)
        resolution = _resolution(pixels["dispersion"], header["COEFF1"])
    return RawSpectra.of(
        RawSpectrum(
            wavelength=10.0**loglam,
            flux=rows[_FLUX_ROW],
            ivar=ivar_from_error(rows[_ERROR_ROW], str(opened.path)),
            mask=mask,
            resolution=resolution,
            redshift=header.get("Z"),
            medium="vacuum",
            flux_unit=_FLUX_UNIT,
            hint="(no keyword Z in the header)",
            meta=_meta(header),
        )
    )


def _pixel_table(opened: OpenedFile, n_pixels: int) -> Any:
    for hdu, columns in opened.tables():
        if {"andmask", "dispersion"} <= columns.keys() and len(hdu.data) == n_pixels:
            return hdu.data
    return None


def _resolution(dispersion: Any, step_dex: float) -> Any:
    sigma_lnlam = np.asarray(dispersion, dtype=float) * step_dex * np.log(10.0)
    with np.errstate(divide="ignore"):
        return 1.0 / (FWHM_PER_SIGMA * sigma_lnlam)


def _meta(header: Any) -> dict[str, str]:
    meta = {}
    if header.get("SPEC_CLN") in _CLASSES:
        meta["class"] = _CLASSES[header["SPEC_CLN"]]
    if "Z_WARNIN" in header:
        meta["zwarning"] = str(header["Z_WARNIN"])
    return meta
