"""SSP libraries of the MILES family, as downloaded from miles.iac.es.

MILES, MIUSCAT and E-MILES come as one FITS file for each population, and the file's name tells which:

    Iku1.30Zm0.25T00.0300_iTp0.00_baseFe.fits
    |'-----''----''------'  |'---' '----'
    |  |      |      |      |  |     '-- abundances of the stars: baseFe, or Ep0.40 for [alpha/Fe] = +0.40
    |  |      |      |      |  '-------- [alpha/Fe] of the isochrones, m for minus and p for plus
    |  |      |      |      '----------- isochrones: P Padova 2000, T BaSTI (Teramo)
    |  |      |      '------------------ age in Gyr
    |  |      '------------------------- [M/H], m for minus and p for plus
    |  '-------------------------------- initial mass function and its slope
    '----------------------------------- M MILES, I MIUSCAT, E E-MILES, C CaT

Spectra are in Lsun / Angstrom for each Msun formed, wavelengths in air.  The FWHM is 2.51 Angstrom
(Falcon-Barroso et al. 2011, A&A 532, A95), but not everywhere in E-MILES (Vazdekis et al. 2016, MNRAS 463,
3409): 3 Angstrom below 3061, 5 Angstrom up to 3541, and a velocity dispersion of 60 km/s above 8950.
"""

from __future__ import annotations

import io
import re
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import LibraryError
from sfhflow.ssp.library import SSPLibrary

__all__ = ["TAR_SUFFIXES", "read"]

#: Endings of the tar files that `read` opens.
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")

_NAME = re.compile(
    r"(?P<family>[A-Z])(?P<imf>[a-z]{2}\d+\.\d+)Z(?P<mh>[mp]\d+\.\d+)T(?P<age>\d+\.\d+)"
    r"(?:_i(?P<isochrones>[A-Z])(?P<iso_alpha>[mp]\d+\.\d+))?(?:_(?P<alpha>baseFe|E[mp]\d+\.\d+))?"
    r".*\.fits(?:\.gz)?"
)
_FAMILIES = {"M": "MILES", "I": "MIUSCAT", "E": "E-MILES", "C": "CaT"}
_ISOCHRONES = {"P": "Padova", "T": "BaSTI", None: "unknown"}
_FWHM = 2.51
_FWHM_CAT = 1.50
_SIGMA_TO_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
_LIGHT_KMS = 299_792.458

# What astropy and the decompressors raise on damaged files.
_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, tarfile.TarError, zlib.error)

_Array = NDArray[np.float64]


class _Model(NamedTuple):
    """What a file's name tells of its spectrum."""

    family: str
    imf: str
    isochrones: str
    alpha: str
    age_gyr: float
    mh: float

    @property
    def kind(self) -> tuple[str, str, str, str]:
        return self[:4]


def read(
    path: str | Path,
    *,
    imf: str | None = None,
    isochrones: str | None = None,
    alpha: str | None = None,
) -> SSPLibrary:
    """Read a folder (with its subfolders) or a tar file of MILES, MIUSCAT or E-MILES spectra.

    Parameters
    ----------
    path : path
        Folder, `.tar`, `.tar.gz` or `.tgz` file; other files in it are ignored.
    imf : str, optional
        Read only this initial mass function, as in the names: "ku1.30", "un1.30", "bi1.30", "ch1.30".
    isochrones : {"BaSTI", "Padova"}, optional
        Read only the models on these isochrones.
    alpha : str, optional
        Read only the models with these abundances, as in the names: "baseFe", "Ep0.00", "Ep0.40".

    Returns
    -------
    SSPLibrary
        Complete grid of age and [M/H].

    Raises
    ------
    LibraryError
        If there are no such models, they are of several kinds, the grid has holes, or a file is damaged.
    """
    path = Path(path)
    wanted = {"imf": imf, "isochrones": isochrones, "alpha": alpha}
    with _files(path) as files:
        models = _select(path, files, wanted)
        ages = sorted({model.age_gyr for model in models.values()})
        metallicities = sorted({model.mh for model in models.values()})
        cells = _cells(path, models, ages, metallicities)
        # In the order of the archive: going back and forth in a compressed tar is slow.
        spectra = {cells[models[name]]: _spectrum(f"{path}/{name}", files[name]) for name in models}
    wavelength = _common_wavelength(path, list(models), [w for w, _ in spectra.values()])
    flux = np.empty((len(ages), len(metallicities), len(wavelength)))
    for cell, (_, values) in spectra.items():
        flux[cell] = values
    model = next(iter(models.values()))
    return SSPLibrary(
        name="-".join(model.kind),
        ages_gyr=np.array(ages),
        metallicities=np.array(metallicities),
        wavelength=wavelength,
        flux=flux,
        fwhm=_fwhm(model.family, wavelength),
        medium="air",
        metadata=_metadata(model),
    )


@contextmanager
def _files(path: Path) -> Iterator[Mapping[str, Callable[[], bytes]]]:
    """Files of a folder or tar by name, each with a function that reads it."""
    if path.is_dir():
        found = sorted(p for p in path.rglob("*.fits*") if p.is_file())
        yield {str(p.relative_to(path)): p.read_bytes for p in found}
        return
    if not path.is_file():
        raise LibraryError(f"{path}: no such file or folder, expected MILES FITS files; check the path")
    try:
        with tarfile.open(path) as archive:
            members = [member for member in archive if member.isfile()]
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise LibraryError(
            f"{path}: not readable as tar ({error}), expected a tar of MILES FITS files; download it again"
        ) from error
    with tarfile.open(path) as archive:
        yield {member.name: _member(archive, member) for member in members}


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    def read_bytes() -> bytes:
        file = archive.extractfile(member)
        return file.read() if file else b""

    return read_bytes


def _select(path: Path, names: Mapping[str, object], wanted: Mapping[str, str | None]) -> dict[str, _Model]:
    """Models of one kind among the files."""
    parsed = {name: model for name in names if (model := _parse(PurePosixPath(name).name)) is not None}
    chosen = {
        name: model
        for name, model in parsed.items()
        if all(value is None or getattr(model, key) == value for key, value in wanted.items())
    }
    kinds = sorted({"-".join(model.kind) for model in (chosen or parsed).values()})
    asked = ", ".join(f"{key}={value}" for key, value in wanted.items() if value) or "any kind"
    if not chosen:
        raise LibraryError(
            f"{path}: no MILES models of {asked} among {len(names)} files "
            f"(found: {', '.join(kinds) or 'none'}), expected "
            "names like Iku1.30Zm0.25T00.0300_iTp0.00_baseFe.fits; check the folder and the selection"
        )
    if len(kinds) > 1:
        raise LibraryError(
            f"{path}: models of {len(kinds)} kinds ({', '.join(kinds)}), expected one; select with imf, "
            "isochrones or alpha, or move them to folders of their own"
        )
    return chosen


def _parse(name: str) -> _Model | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    isochrones = _ISOCHRONES.get(match["isochrones"], str(match["isochrones"]))
    family = _FAMILIES.get(match["family"], match["family"])
    mh = float(match["mh"][1:]) * (-1.0 if match["mh"][0] == "m" else 1.0)
    return _Model(family, match["imf"], isochrones, match["alpha"] or "baseFe", float(match["age"]), mh)


def _cells(
    path: Path, models: Mapping[str, _Model], ages: list[float], metallicities: list[float]
) -> dict[_Model, tuple[int, int]]:
    """Cell of each model in the grid, once it is certain that each cell has one file."""
    first: dict[_Model, str] = {}
    for name, model in models.items():
        if model in first:
            raise LibraryError(
                f"{path}/{name}: same population as {first[model]}, expected one file each; remove one"
            )
        first[model] = name
    have = {(model.age_gyr, model.mh) for model in models.values()}
    missing = [(age, mh) for age in ages for mh in metallicities if (age, mh) not in have]
    if missing:
        age, mh = missing[0]
        pattern = f"*Z{'m' if mh < 0 else 'p'}{abs(mh):.2f}T{age:07.4f}*.fits"
        raise LibraryError(
            f"{path}: {len(missing)} of {len(ages)} ages x {len(metallicities)} metallicities are missing, "
            f"first {pattern}, expected a complete grid; download the rest or remove that age or [M/H]"
        )
    return {model: (ages.index(model.age_gyr), metallicities.index(model.mh)) for model in first}


def _spectrum(where: str, read_bytes: Callable[[], bytes]) -> tuple[_Array, _Array]:
    """Wavelength and flux of one file."""
    # Imported here because training machines load stored libraries only, and may have no astropy.
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(io.BytesIO(read_bytes())) as hdus:
                header, data = hdus[0].header, np.array(hdus[0].data, dtype=float)
        step = header["CDELT1"] if "CDELT1" in header else header["CD1_1"]
        pixel = np.arange(data.size) + 1.0 - header.get("CRPIX1", 1.0)
        wavelength = header["CRVAL1"] + step * pixel
    except _DAMAGE as error:
        raise LibraryError(
            f"{where}: damaged or no FITS spectrum ({error}), expected one spectrum with CRVAL1 and CDELT1; "
            "download it again"
        ) from error
    if data.ndim != 1 or data.size < 2 or not np.all(np.isfinite(data)) or np.any(data < 0):
        raise LibraryError(
            f"{where}: data of shape {data.shape} that are not all finite and positive, expected one "
            "spectrum; download it again"
        )
    return wavelength, data


def _common_wavelength(path: Path, names: list[str], wavelengths: list[_Array]) -> _Array:
    first = wavelengths[0]
    for name, other in zip(names, wavelengths, strict=True):
        if other.shape != first.shape or not np.allclose(other, first, rtol=0, atol=1e-3):
            raise LibraryError(
                f"{path}/{name}: wavelengths {other[0]:.1f}-{other[-1]:.1f} ({len(other)} pixels) differ "
                f"from {first[0]:.1f}-{first[-1]:.1f} ({len(first)} pixels) of {names[0]}, expected one "
                "grid; download all files with the same settings"
            )
    return first


def _fwhm(family: str, wavelength: _Array) -> float | _Array:
    if family != "E-MILES":
        return _FWHM_CAT if family == "CaT" else _FWHM
    red = 60.0 / _LIGHT_KMS * wavelength * _SIGMA_TO_FWHM
    return np.select([wavelength < 3060.8, wavelength < 3541.4, wavelength < 8950.4], [3.0, 5.0, _FWHM], red)


def _metadata(model: _Model) -> dict[str, str]:
    return {
        "imf": model.imf,
        "imf_normalisation": "1 Msun formed",
        "flux_unit": "Lsun / Angstrom / Msun formed",
        "isochrones": model.isochrones,
        "abundances": model.alpha,
        "stars": model.family,
        "credit": "MILES project (http://miles.iac.es); Vazdekis et al. 2010, 2012, 2015, 2016",
        "licence": "Copyright MILES team; non-commercial use, no redistribution",
    }
