r"""One-dimensional FITS images with the wavelengths in the header.

With :math:`x_p = \mathrm{CRVAL1} + (p - \mathrm{CRPIX1})\, \mathrm{CDELT1}` (or CD1_1) at pixel p = 1 ... n
the wavelength is :math:`x_p`, or :math:`10^{x_p}` if DC-FLAG = 1 (IRAF) or CRVAL1 is itself the decimal
logarithm of an optical wavelength, or :math:`e^{x_p}` if it is the natural one, or, for CTYPE1 = WAVE-LOG,
:math:`\lambda_r \exp((x_p - \lambda_r) / \lambda_r)`.  CUNIT1 gives the unit.  CTYPE1 AWAV means air and
WAVE vacuum, as the standard has it, unless another card of the header names the medium.

The error spectrum is an extension called ERR, SIGMA, IVAR, VAR, STAT (mpdaf) ... of the same length, or one of
the rows of a two-dimensional image whose BANDIDn or ARRAYn cards say what they are (IRAF multispec).

Source: Greisen et al. 2006, A&A 446, 747 (FITS paper III); Valdes 1993, ASP Conf. 52, 467 (IRAF).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.columns import Column, find_roles, spectrum_from_columns, to_angstrom
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra
from sfhflow.readers.stated import header_lines, stated_in

__all__ = ["NAME", "axis_medium", "identify", "read", "wavelengths"]

NAME = "wcs1d"

# Ranges of log10 and ln of 900 to 60000 A, none of which is a plausible wavelength in A, nm or micron.
_LOG10_RANGE = (2.95, 4.78)
_LN_RANGE = (6.80, 11.0)
_MAX_LOG_STEP = 0.01
_BAND_WORDS: Mapping[str, str] = {
    "sigma": "error",
    "err": "error",
    "ivar": "ivar",
    "var": "var",
    "mask": "mask",
}


def identify(opened: OpenedFile) -> bool:
    """Tell whether an image has a wavelength axis in its header."""
    return _flux_hdu(opened) is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read the spectrum and its errors.

    Raises
    ------
    SpectrumError
        If there are several rows without names.
    """
    hdu, where = _flux_hdu(opened), str(opened.path)
    wavelength = wavelengths(hdu.header, hdu.data.shape[-1], where=where)
    columns = [
        Column("wavelength", "", wavelength),
        *_bands(hdu, where),
        *_extensions(opened, len(wavelength)),
    ]
    lines = header_lines(hdu.header) + header_lines(opened.hdus[0].header)  # type: ignore[index]
    if not stated_in(lines).medium and axis_medium(hdu.header, 1):
        lines.append(f"wavelengths in {axis_medium(hdu.header, 1)}")
    unit = str(hdu.header.get("FLUXUNIT", hdu.header.get("BUNIT", "")))
    hint = "(no REDSHIFT or Z in the header)"
    raw = spectrum_from_columns(columns, stated_in(lines), where=where, flux_unit=unit, hint=hint)
    error_hint = (
        "found no error spectrum, expected an image extension called ERROR, SIGMA, IVAR or VAR "
        f"of {len(wavelength)} pixels; add one, or give a table with wavelength, flux and error"
    )
    return RawSpectra.of(replace(raw, error_hint=error_hint))


def wavelengths(header: Any, n_pixels: int, *, where: str, axis: int = 1) -> NDArray[np.float64]:
    """Compute the wavelength of each pixel.

    Parameters
    ----------
    header : mapping
        FITS header with CRVALi and CDi_i or CDELTi.
    n_pixels : int
        Number of pixels.
    where : str
        File named in messages.
    axis : int
        Number i of the wavelength axis as FITS counts, 3 in a cube.

    Returns
    -------
    array of shape (n_pixels,)
        Wavelength in Angstrom; as it stands in the header if that names no unit.

    Raises
    ------
    SpectrumError
        If the unit is not understood.
    """
    start, first = float(header[f"CRVAL{axis}"]), float(header.get(f"CRPIX{axis}", 1.0))
    # where there is a CD matrix, CDELT has no meaning
    step = float(header.get(f"CD{axis}_{axis}", 0.0)) or float(header.get(f"CDELT{axis}", 0.0))
    values: NDArray[Any] = start + (np.arange(1, n_pixels + 1) - first) * step
    kind = str(header.get(f"CTYPE{axis}", "")).upper()
    if kind.startswith(("WAVE-LOG", "AWAV-LOG")) and start > _LN_RANGE[1]:
        values = start * np.exp((values - start) / start)
    elif header.get("DC-FLAG") == 1 or _within(start, step, _LOG10_RANGE):
        return 10.0**values
    elif _within(start, step, _LN_RANGE):
        return np.exp(values)
    return _in_angstrom(values, header, axis, where)


def axis_medium(header: Any, axis: int) -> str | None:
    """Return the medium that CTYPEi names: AWAV is air and WAVE vacuum; None if it is neither."""
    code = str(header.get(f"CTYPE{axis}", "")).strip().upper().split("-")[0]
    return {"AWAV": "air", "WAVE": "vacuum"}.get(code)


def _within(start: float, step: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= start <= bounds[1] and abs(step) < _MAX_LOG_STEP


def _in_angstrom(values: NDArray[np.float64], header: Any, axis: int, where: str) -> NDArray[np.float64]:
    unit = str(header.get(f"CUNIT{axis}", ""))
    if not unit and axis == 1:
        match = re.search(r"units=(\w+)", str(header.get("WAT1_001", "")))
        unit = match[1] if match else ""
    return to_angstrom(values, unit, where)


def _flux_hdu(opened: OpenedFile) -> Any:
    for hdu in opened.hdus or ():
        header = hdu.header
        has_axis = "CRVAL1" in header and ("CDELT1" in header or "CD1_1" in header)
        if hdu.is_image and header.get("NAXIS", 0) >= 1 and header["NAXIS1"] > 1 and has_axis:
            return hdu
    return None


def _bands(hdu: Any, where: str) -> list[Column]:
    """Return the flux, and whatever further rows the header names."""
    rows = hdu.data.reshape(-1, hdu.data.shape[-1])
    if len(rows) == 1:
        return [Column("flux", "", rows[0])]
    names = {i: _band_name(hdu.header, i) for i in range(1, len(rows))}
    if (hdu.data.ndim > 2 and min(hdu.data.shape[:-1]) > 1) or not any(names.values()):
        raise SpectrumError(
            f"{where}: found an image of shape {hdu.data.shape} whose rows have no names, expected one "
            "spectrum; extract it to a table with wavelength, flux and error"
        )
    return [Column("flux", "", rows[0]), *(Column(name, "", rows[i]) for i, name in names.items() if name)]


def _band_name(header: Any, row: int) -> str:
    text = str(header.get(f"BANDID{row + 1}", header.get(f"ARRAY{row + 1}", ""))).lower()
    return next((name for word, name in _BAND_WORDS.items() if word in text), "")


def _extensions(opened: OpenedFile, n_pixels: int) -> list[Column]:
    """Return the images of the same length, named by their extensions."""
    images = [hdu for hdu in opened.hdus or () if hdu.is_image and hdu.name and hdu.data is not None]
    fluxless = [hdu for hdu in images if not {"flux", "wavelength"} & find_roles([hdu.name]).keys()]
    return [Column(hdu.name, "", hdu.data.ravel()) for hdu in fluxless if hdu.data.size == n_pixels]
