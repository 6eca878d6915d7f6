r"""DESI spectra: ``coadd-*.fits``, one spectrum a target, or ``spectra-*.fits``, one an exposure of a target.

Each arm X (B, R, Z, or BRZ once joined) has HDUs ``X_WAVELENGTH`` (vacuum), ``X_FLUX`` and ``X_IVAR``
in units of 1e-17 erg/s/cm2/A, ``X_MASK`` and ``X_RESOLUTION``.  The arms share one grid of 0.8 A and overlap
by some tens of Angstrom, where they are averaged with their inverse variances,

.. math:: F = \sum_X w_X F_X / \sum_X w_X, \qquad w = \sum_X w_X .

Every set mask bit condemns a pixel, as in the redshift fitter redrock.  The resolution matrix holds, for each
pixel, the line-spread function on the neighbouring pixels :math:`k`; its second moment gives the width,

.. math:: \sigma^2 = \sum_k k^2 r_k / \sum_k r_k - (\sum_k k r_k / \sum_k r_k)^2 .

The redshift of a target, matched by TARGETID, comes from a table with the columns TARGETID and Z in the file
itself, or from the file of the same name that begins with ``redrock``, ``zbest`` or ``fastspec`` in the same
folder, gzipped or not.

Source: DESI data model (desidatamodel.readthedocs.io, ``coadd-SURVEY-PROGRAM-PIXNUM.html``);
Guy et al. 2023, AJ 165, 144; Bolton & Schlegel 2010, PASP 122, 248 (the resolution matrix).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.opening import OpenedFile, open_file
from sfhflow.readers.raw import FWHM_PER_SIGMA, RawSpectra, RawSpectrum

__all__ = ["NAME", "identify", "join_arms", "read"]

NAME = "desi"
_FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"
_DATA_PREFIXES = ("coadd", "spectra")
_REDSHIFT_PREFIXES = ("redrock", "zbest", "fastspec")
# Columns of a redshift table that are kept in the metadata, and under which name.
_KEPT_COLUMNS = {"spectype": "class", "zwarn": "zwarning"}
# Largest offset, in pixels, at which two arms still count as being on one grid.
_GRID_TOLERANCE = 0.02
# Far more than any arms can span; keeps a damaged file from asking for all the memory.
_MAX_PIXELS = 1_000_000


@dataclass(frozen=True, eq=False)
class _Arm:
    """One arm: wavelength (n,); flux, ivar and sigma_aa of shape (targets, n)."""

    wavelength: NDArray[np.float64]
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    sigma_aa: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Images:
    """One arm as in the file: wavelength (n,); flux, ivar, mask (targets, n); matrix (targets, 2 k + 1, n)."""

    wavelength: NDArray[np.float64]
    flux: NDArray[Any]
    ivar: NDArray[Any]
    mask: NDArray[Any]
    matrix: NDArray[Any] | None


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has arms with wavelengths and fluxes."""
    return bool(_arm_names(opened))


def read(opened: OpenedFile) -> RawSpectra:
    """Read all targets, with their arms joined when one is asked for.

    Raises
    ------
    SpectrumError
        If an HDU is missing or the arms do not share a grid.
    """
    where = str(opened.path)
    arms = sorted((_images(opened, name) for name in _arm_names(opened)), key=lambda arm: arm.wavelength[0])
    _all_places(arms, where)
    targets = _target_ids(opened, len(arms[0].flux))
    redshifts, hint = _redshifts(opened)

    def make(i: int) -> RawSpectrum:
        wavelength, flux, ivar, sigma_aa = join_arms([_arm(images, i) for images in arms], where=where)
        return RawSpectrum(
            wavelength=wavelength,
            flux=flux[0],
            ivar=ivar[0],
            resolution=wavelength / (FWHM_PER_SIGMA * sigma_aa[0]),
            redshift=redshifts[targets[i]][0] if targets[i] in redshifts else None,
            medium="vacuum",
            flux_unit=_FLUX_UNIT,
            hint=hint,
            meta={"target_id": str(targets[i]), **redshifts.get(targets[i], (None, {}))[1]},
        )

    return RawSpectra(range(len(targets)), make)


def join_arms(arms: list[Any], *, where: str) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Average arms onto one grid with their inverse variances.

    Parameters
    ----------
    arms : list
        Records with ``wavelength`` (n,) and ``flux``, ``ivar``, ``sigma_aa`` of shape (targets, n), rising
        in wavelength.
    where : str
        File named in messages.

    Returns
    -------
    wavelength, flux, ivar, sigma_aa : arrays of shape (m,) and three times (targets, m)
        Zero ivar where no arm has data; NaN sigma where it is unknown.

    Raises
    ------
    SpectrumError
        If the arms do not share a grid.
    """
    places = _all_places(arms, where)
    start, step = _grid(arms)
    shape = (len(arms[0].flux), max(int(place[-1]) for place in places) + 1)
    ivar, ivar_flux, known, variance = (np.zeros(shape) for _ in range(4))
    for arm, place in zip(arms, places, strict=True):
        weight = np.where(np.isfinite(arm.sigma_aa), arm.ivar, 0.0)
        ivar[:, place] += arm.ivar
        ivar_flux[:, place] += arm.ivar * arm.flux
        known[:, place] += weight
        variance[:, place] += weight * np.nan_to_num(arm.sigma_aa) ** 2
    with np.errstate(invalid="ignore"):
        flux = np.where(ivar > 0, ivar_flux / ivar, 0.0)
        sigma_aa = np.sqrt(np.where(known > 0, variance / known, np.nan))
    return start + step * np.arange(shape[1]), flux, ivar, sigma_aa


def _arm_names(opened: OpenedFile) -> list[str]:
    names = {hdu.name for hdu in opened.hdus or ()}
    return [n.removesuffix("_WAVELENGTH") for n in names if n.endswith("_WAVELENGTH")]


def _images(opened: OpenedFile, name: str) -> _Images:
    wavelength = np.asarray(opened.image(f"{name}_WAVELENGTH"), dtype=float)
    flux, ivar, mask = (np.atleast_2d(opened.image(f"{name}_{kind}")) for kind in ("FLUX", "IVAR", "MASK"))
    has_matrix = opened.hdu(f"{name}_RESOLUTION") is not None
    return _Images(wavelength, flux, ivar, mask, opened.image(f"{name}_RESOLUTION") if has_matrix else None)


def _arm(images: _Images, target: int) -> _Arm:
    one = slice(target, target + 1)
    flux, ivar = np.asarray(images.flux[one], dtype=float), np.asarray(images.ivar[one], dtype=float)
    good = np.isfinite(flux) & np.isfinite(ivar) & (images.mask[one] == 0)
    sigma_aa = np.full(flux.shape, np.nan)
    if images.matrix is not None:
        sigma_aa = _sigma_aa(np.asarray(images.matrix[one], dtype=float), images.wavelength)
    return _Arm(images.wavelength, np.where(good, flux, 0.0), np.where(good, ivar, 0.0), sigma_aa)


def _sigma_aa(matrix: NDArray[np.float64], wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Width of the line-spread function from the diagonals (targets, 2 k + 1, n) of the matrix."""
    offset = (np.arange(matrix.shape[1]) - matrix.shape[1] // 2)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = matrix.sum(axis=1)
        mean = (matrix * offset).sum(axis=1) / norm
        variance = (matrix * offset**2).sum(axis=1) / norm - mean**2
        return np.sqrt(np.where((norm > 0) & (variance > 0), variance, np.nan)) * np.gradient(wavelength)


def _grid(arms: Sequence[Any]) -> tuple[float, float]:
    """Return the first wavelength of the bluest arm, and its step."""
    return float(arms[0].wavelength[0]), float(np.median(np.diff(arms[0].wavelength)))


def _all_places(arms: Sequence[Any], where: str) -> list[NDArray[np.intp]]:
    """Return the pixels of the common grid on which each arm lies, or refuse."""
    start, step = _grid(arms)
    return [_places(arm.wavelength, start, step, where) for arm in arms]


def _places(wavelength: NDArray, start: float, step: float, where: str) -> NDArray[np.intp]:
    place = (wavelength - start) / step
    on_grid = np.abs(place - np.rint(place)) < _GRID_TOLERANCE
    if not np.all(on_grid & (place > -1) & (place < _MAX_PIXELS)):
        raise SpectrumError(
            f"{where}: the arms are not on one wavelength grid of {step:.3g} Angstrom, expected DESI's; "
            "join the arms first and give a table with wavelength, flux and error"
        )
    return np.rint(place).astype(np.intp)


def _target_ids(opened: OpenedFile, n_targets: int) -> list[int]:
    for hdu, columns in opened.tables():
        if "targetid" in columns and len(hdu.data) == n_targets:
            return [int(i) for i in hdu.data[columns["targetid"]]]
    return list(range(n_targets))


def _companions(path: Path) -> Iterator[Path]:
    stem = path.name.removesuffix(".gz")
    for old in _DATA_PREFIXES:
        if stem.startswith(old):
            for new in _REDSHIFT_PREFIXES:
                yield path.with_name(new + stem[len(old) :])
                yield path.with_name(new + stem[len(old) :] + ".gz")


def _redshifts(opened: OpenedFile) -> tuple[dict[int, tuple[float, dict[str, str]]], str]:
    """Redshift and what else is known by TARGETID, and where a missing one was looked for."""
    inside = _redshift_table(opened)
    if inside:
        return inside, "in its own table of redshifts"
    candidates = list(_companions(opened.path))
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        wanted = candidates[0].name if candidates else "redrock-*.fits"
        return {}, f"(there is no {wanted} in its folder)"
    return _redshift_table(open_file(found)), f"in {found.name}"


def _redshift_table(opened: OpenedFile) -> dict[int, tuple[float, dict[str, str]]]:
    for hdu, columns in opened.tables():
        if {"targetid", "z"} <= columns.keys():
            kept = {new: columns[old] for old, new in _KEPT_COLUMNS.items() if old in columns}
            meta = [{new: str(row[old]).strip() for new, old in kept.items()} for row in hdu.data]
            rows = zip(hdu.data[columns["targetid"]], hdu.data[columns["z"]], meta, strict=True)
            return {int(i): (float(z), known) for i, z, known in rows}
    return {}
