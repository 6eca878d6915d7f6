"""One-dimensional spectra of the ESO archive ("Phase 3"): X-shooter, MUSE, LEGA-C, VANDELS, 4MOST ...

A binary table of one row holds a whole array a column.  What a column is, its ``TUTYP`` says; its name is
believed only where there is no TUTYP, since the flux may be ``FLUX`` or ``FLUX_REDUCED``, or both:

- ``SpectralAxis.Value`` (or WAVE): wavelength in the unit of the column, in air if its ``TUCD`` has
  ``obs.atmos`` and in vacuum if it is plain ``em.wl``;
- ``FluxAxis.Value`` (or FLUX, FLUX_REDUCED): the flux; of several the one marked ``meta.main``, then one that
  is not marked ``stat.uncalib``;
- ``FluxAxis.Accuracy.StatError`` (or ERR, ERR_REDUCED, ERR_FLUX): its standard deviation, in the same unit;
- ``FluxAxis.Accuracy.QualityStatus`` (or QUAL): nonzero in bad pixels, unless it is zero nowhere.

``SPEC_RES`` of the primary header is the resolving power.  The standard has no keyword for the redshift; Z or
REDSHIFT is believed.  Velocities are those of ``SPECSYS`` (30 km/s at most from the barycentre), kept in the
metadata.

Source: ESO Science Data Products Standard, issue 8, section 12 (1D spectra); IVOA Spectrum Data Model 1.1.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.columns import Column, spectrum_from_columns
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra, RawSpectrum
from sfhflow.readers.stated import Stated, header_lines, stated_in

__all__ = ["NAME", "identify", "read"]

NAME = "eso"
_UTYPES = {
    "wave": re.compile(r"spectralaxis\.value$"),
    "flux": re.compile(r"fluxaxis\.value$"),
    # the standard's "Accuracy" is misspelt in several collections
    "err": re.compile(r"fluxaxis\.accu\w+\.staterror$"),
    "qual": re.compile(r"fluxaxis\.(?:accu\w+\.)?quality(?:status)?$"),
}
_NAMES = {
    "wave": ("WAVE",),
    "flux": ("FLUX", "FLUX_REDUCED"),
    "err": ("ERR", "ERR_REDUCED", "ERR_FLUX"),
    "qual": ("QUAL",),
}


@dataclass(frozen=True, eq=False)
class _Field:
    """A column of the table, its values of shape (rows, n); utype is what follows ``Data.``, in lower case."""

    name: str
    unit: str
    space: str
    utype: str
    ucd: str
    values: NDArray[Any]


def identify(opened: OpenedFile) -> bool:
    """Tell whether a table calls itself a spectrum of ESO's or the IVOA's standard."""
    return _table(opened) is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read the spectrum, or all if there are several rows.

    Raises
    ------
    SpectrumError
        If wavelengths, fluxes or errors are missing or their units do not fit.
    """
    hdu, primary = _table(opened), opened.hdus[0].header  # type: ignore[index]
    where, fields = str(opened.path), _fields(hdu)
    wave = _first(fields, "wave", where)
    flux = max(_all(fields, "flux", where), key=_rank)
    error = max(_all(fields, "err", where), key=lambda field: (field.unit == flux.unit, field.space == flux.space))
    _check_units(flux, error, where)
    quality = _quality(fields, where)
    stated = _stated(wave, primary, hdu.header)
    meta = _meta(primary, where)

    def make(row: int) -> RawSpectrum:
        chosen = (("wave", wave), ("flux", flux), ("err", error), ("qual", quality))
        columns = [Column(name, field.unit, field.values[row]) for name, field in chosen if field is not None]
        raw = spectrum_from_columns(columns, stated, where=where, hint="(no Z or REDSHIFT in the header)")
        return replace(raw, meta=meta)

    return RawSpectra(range(len(flux.values)), make)


def _table(opened: OpenedFile) -> Any:
    product = str(opened.hdus[0].header.get("PRODCATG", "")) if opened.hdus else ""
    for hdu, columns in opened.tables():
        is_spectrum = str(hdu.header.get("VOCLASS", "")).strip().upper().startswith("SPECTRUM")
        if (is_spectrum or product.upper().startswith("SCIENCE.SPECTRUM")) and len(columns) > 1:
            return hdu
    return None


def _fields(hdu: Any) -> list[_Field]:
    found = []
    for i, column in enumerate(hdu.columns, 1):
        values = np.asarray(hdu.data[column.name])
        # a table with a row a pixel is against the standard, but clear enough
        values = values if values.ndim == 2 else values[None, :]
        # LEGA-C writes commas
        space, _, utype = str(hdu.header.get(f"TUTYP{i}", "")).lower().replace(",", ".").partition("data.")
        ucd = str(hdu.header.get(f"TUCD{i}", "")).lower()
        found.append(_Field(column.name.upper(), column.unit or "", space, utype, ucd, values))
    return found


def _matching(fields: Sequence[_Field], role: str) -> list[_Field]:
    typed = [field for field in fields if _UTYPES[role].search(field.utype)]
    return typed or [field for field in fields if not field.utype and field.name in _NAMES[role]]


def _all(fields: Sequence[_Field], role: str, where: str) -> list[_Field]:
    found = _matching(fields, role)
    if not found:
        raise SpectrumError(
            f"{where}: found columns {', '.join(field.name for field in fields)}, expected "
            f"{' or '.join(_NAMES[role])} as in ESO's standard; add that column"
        )
    return found


def _first(fields: Sequence[_Field], role: str, where: str) -> _Field:
    return _all(fields, role, where)[0]


def _rank(field: _Field) -> tuple[bool, bool]:
    return "meta.main" in field.ucd, "uncalib" not in field.ucd and field.unit.lower() != "adu"


def _check_units(flux: _Field, error: _Field, where: str) -> None:
    counts = [field.unit.strip().lower() in ("adu", "count", "electron") for field in (flux, error)]
    if counts[0] != counts[1] and flux.unit and error.unit:
        raise SpectrumError(
            f"{where}: the flux {flux.name} is in {flux.unit!r} and its error {error.name} in {error.unit!r}, "
            "expected one unit; give a table with wavelength, flux and error"
        )


def _quality(fields: Sequence[_Field], where: str) -> _Field | None:
    found = next(iter(_matching(fields, "qual")), None)
    if found is not None and not np.any(found.values == 0):
        warnings.warn(f"{where}: {found.name} is zero nowhere, so it is not used as a mask", stacklevel=2)
        return None
    return found


def _stated(wave: _Field, *headers: Any) -> Stated:
    stated = stated_in([line for header in headers for line in header_lines(header)])
    medium = stated.medium
    if wave.ucd.startswith("em.wl"):
        medium = "air" if "obs.atmos" in wave.ucd else "vacuum"
    powers = [header.get("SPEC_RES") for header in headers]
    resolution = next((power for power in powers if isinstance(power, int | float)), stated.resolution)
    return replace(stated, medium=medium, resolution=resolution)


def _meta(header: Any, where: str) -> dict[str, str]:
    calibration = str(header.get("FLUXCAL", "")).strip().lower()
    if calibration == "uncalibrated":
        warnings.warn(
            f"{where}: FLUXCAL says that the flux is not calibrated; its shape means little", stacklevel=2
        )
    kept = {"flux_calibration": calibration, "specsys": str(header.get("SPECSYS", "")).strip().lower()}
    return {key: value for key, value in kept.items() if value}
