r"""Columns with names and units, from any kind of table, made into a spectrum.

A column's role is read from its name (``wave``, ``loglam``, ``flux``, ``err``, ``ivar``, ``mask`` ... in the
spellings of `ROLES`), its unit from its unit.  Wavelengths become Angstrom, :math:`10^{x}` or :math:`e^{x}`
of logarithmic columns, and a flux density per unit frequency becomes one per unit wavelength,

.. math:: f_\lambda = f_\nu\, c / \lambda^2 ,

if the unit (Jy, maggies, erg/s/cm2/Hz) or the name (``fnu``) says that it is one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.raw import RawSpectrum, ivar_from_error
from sfhflow.readers.stated import Stated

__all__ = ["ROLES", "Column", "find_roles", "is_spectrum", "spectrum_from_columns", "to_angstrom"]

#: The names recognised for each role, in lower case with all but letters and digits removed.
ROLES: Mapping[str, frozenset[str]] = {
    role: frozenset(names.split())
    for role, names in {
        "wavelength": "wave wavelength wavelengths waves lambda lambdas lam wl wav spectralaxis "
        "waveobs wavelengthobs lambdaobs obswave waverest wavelengthrest lambdarest restwave "
        "waveair wavelengthair lambdaair wavevac wavelengthvac lambdavac",
        "log10": "loglam loglambda logwave logwavelength log10lam log10lambda log10wave",
        "ln": "lnlam lnlambda lnwave lnwavelength",
        "flux": "flux fluxes spectrum spec flam flambda fluxlambda fluxlam fluxdensity "
        "fluxmean meanflux fluxmedian medianflux stack stackflux fluxstack stackedflux coadd coaddflux",
        "fnu": "fnu fluxnu fluxdensitynu",
        "error": "err error errors sigma sig unc uncert uncertainty noise std stddev fluxerr fluxerror "
        "fluxunc errflux eflux dflux fluxstd fluxsigma sigmaflux fluxuncertainty fnuerr fluxnuerr "
        "errs errormean stderr fluxstderr sem fluxsem stackerr stackerror errstack bootstraperr bootstraperror",
        "ivar": "ivar ivars fluxivar invvar inversevariance ivarflux stackivar ivarstack",
        "variance": "var variance fluxvar fluxvariance stat",
        "mask": "mask andmask flag flags qual badpixel badpix bpm dq",
    }.items()
}

_FLAM_UNIT = u.erg / u.s / u.cm**2 / u.AA
_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("a", "aa", "ang", "angstrom", "angstroms"), "Angstrom"),
    **dict.fromkeys(("micron", "microns"), "um"),
    **dict.fromkeys(("nanometer", "nanometers"), "nm"),
    # a maggy is the flux of an AB magnitude of zero
    **dict.fromkeys(("maggies", "maggy", "mgy"), "3631 Jy"),
}
_FNU_WORDS = re.compile(r"f_?nu\b|maggie|jy\b|/ ?hz|hz(?:\^|\*\*)?\(?-1", re.IGNORECASE)
_MAGNITUDES = re.compile(r"mag(?!g)", re.IGNORECASE)
# where a relative f_nu keeps its value
_PIVOT_AA = 5500.0


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table: its name, its unit ("" if not stated) and its values."""

    name: str
    unit: str
    values: NDArray[Any]


def find_roles(names: Sequence[str]) -> dict[str, int]:
    """Find which column plays which role; the first of several wins.

    Parameters
    ----------
    names : sequence of str
        Column names.

    Returns
    -------
    dict of str to int
        Role (a key of `ROLES`) to position.
    """
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    found = {role: next((i for i, n in enumerate(plain) if n in known), None) for role, known in ROLES.items()}
    return {role: i for role, i in found.items() if i is not None}


def is_spectrum(names: Sequence[str]) -> bool:
    """Tell whether columns of these names hold at least wavelengths and fluxes."""
    roles = find_roles(names)
    return bool({"wavelength", "log10", "ln"} & roles.keys()) and bool({"flux", "fnu"} & roles.keys())


def spectrum_from_columns(
    columns: Sequence[Column], stated: Stated, *, where: str, flux_unit: str = "", hint: str = ""
) -> RawSpectrum:
    """Make a spectrum of named columns.

    Parameters
    ----------
    columns : sequence of Column
        At least wavelength and flux, and one of error, ivar, variance if there is; values of shape (n,).
    stated : Stated
        What the file says elsewhere.
    where : str
        File named in messages.
    flux_unit : str
        Unit of the flux if its column states none.
    hint : str
        Where the redshift was looked for.

    Returns
    -------
    RawSpectrum

    Raises
    ------
    SpectrumError
        If a unit is not understood, or errors are negative.
    """
    roles = {role: columns[i] for role, i in find_roles([c.name for c in columns]).items()}
    wavelength = _wavelength_aa(roles, where)
    flux = roles.get("flux") or roles["fnu"]
    factor, unit = _to_flam(flux.unit or flux_unit, wavelength, where, is_fnu="flux" not in roles)
    mask, ivar = roles.get("mask"), _ivar(roles, flux.unit, where)
    names = ", ".join(column.name for column in columns)
    return RawSpectrum(
        wavelength=wavelength,
        flux=np.asarray(flux.values, dtype=float) * factor,
        ivar=None if ivar is None else ivar / factor**2,
        mask=None if mask is None else np.asarray(mask.values) != 0,
        resolution=wavelength / stated.fwhm if stated.fwhm else stated.resolution,
        redshift=stated.redshift,
        medium=stated.medium,
        flux_unit=unit,
        hint=hint,
        error_hint=f"found columns {names} and no errors, expected one of error, ivar, variance; "
        "add a column with the error of each pixel",
    )


def _wavelength_aa(roles: Mapping[str, Column], where: str) -> NDArray[np.float64]:
    for role, base in (("log10", 10.0), ("ln", np.e)):
        if role in roles:
            return base ** np.asarray(roles[role].values, dtype=float)
    return to_angstrom(np.asarray(roles["wavelength"].values, dtype=float), roles["wavelength"].unit, where)


def to_angstrom(values: NDArray[np.float64], unit: str, where: str) -> NDArray[np.float64]:
    """Convert wavelengths to Angstrom; without a unit they are left as they are.

    Parameters
    ----------
    values : array
        Wavelengths (or frequencies) in `unit`.
    unit : str
        Unit as the file writes it; may be empty.
    where : str
        File named in messages.

    Returns
    -------
    array of the same shape

    Raises
    ------
    SpectrumError
        If the unit is not one of length.
    """
    if not unit:
        return values
    parsed = _unit(unit)
    if parsed is None or not parsed.is_equivalent(u.AA, u.spectral()):
        raise SpectrumError(
            f"{where}: wavelength unit is {unit!r}, expected a length such as Angstrom, nm or um; "
            "correct the unit or convert to Angstrom"
        )
    return (values * parsed).to_value(u.AA, u.spectral())


def _ivar(roles: Mapping[str, Column], flux_unit: str, where: str) -> NDArray[np.float64] | None:
    if "ivar" in roles:
        return np.asarray(roles["ivar"].values, dtype=float)
    if "error" in roles:
        scale = _scale(roles["error"].unit, flux_unit)
        return ivar_from_error(np.asarray(roles["error"].values, dtype=float) * scale, where)
    if "variance" in roles:
        variance = np.asarray(roles["variance"].values, dtype=float)
        return ivar_from_error(np.sign(variance) * np.sqrt(np.abs(variance)), where)
    return None


def _scale(error_unit: str, flux_unit: str) -> float:
    """Return what an error is to be multiplied by to be in the unit of the flux."""
    error, flux = _unit(error_unit), _unit(flux_unit)
    if not (error_unit and flux_unit and error and flux and error.is_equivalent(flux)):
        return 1.0
    return float(error.to(flux))


def _unit(text: str) -> Any:
    """Parse a unit, or return None."""
    words = text.strip().strip("[]()")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)
            return u.Unit(_ALIASES.get(words.lower(), words))
    except (ValueError, TypeError):
        return None


def _to_flam(text: str, wavelength: NDArray, where: str, *, is_fnu: bool) -> tuple[Any, str]:
    """Return the factor that turns the flux into one per unit wavelength, and the unit it is then in."""
    words = text.split()
    unit = _unit(text) if text else None
    if unit is None and words:
        # "maggies (f_nu), scaled ...": a unit followed by prose
        unit = _unit(words[0]) if _FNU_WORDS.search(text) else None
    if _MAGNITUDES.search(text):
        raise SpectrumError(
            f"{where}: flux unit is {text!r}, expected a linear flux density; convert magnitudes to flux"
        )
    if unit is not None and unit.is_equivalent(u.Jy):
        factor = unit.to(_FLAM_UNIT, 1.0, equivalencies=u.spectral_density(wavelength * u.AA))
        return factor, _FLAM_UNIT.to_string()
    if is_fnu or _FNU_WORDS.search(text):
        return (_PIVOT_AA / wavelength) ** 2, ""
    return 1.0, text
