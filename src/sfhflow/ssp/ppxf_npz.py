"""SSP libraries in the `.npz` form of pPXF (Cappellari 2023, MNRAS 526, 3273).

pPXF distributes grids made with FSPS, GALAXEV, E-MILES and others as one file of NumPy arrays (see the
class `sps_lib` in `ppxf/sps_util.py`): `templates` (L, A, Z) in Lsun / Angstrom for each Msun formed, `lam`
(L,) in Angstrom, `ages` (A,) in Gyr, `metals` (Z,) in dex, and `fwhm`, a number or (L,), in Angstrom.  The
medium is not recorded: pPXF's examples treat E-MILES alone as in air and the others as in vacuum, and so
does this reader, by the file's name.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import LibraryError
from sfhflow.spectrum import Medium
from sfhflow.ssp.library import SSPLibrary

__all__ = ["read"]

_KEYS = ("templates", "lam", "ages", "metals", "fwhm")


def read(path: str | Path, *, medium: Medium | None = None) -> SSPLibrary:
    """Read a pPXF `.npz` library.

    Parameters
    ----------
    path : path
        File such as `spectra_fsps_9.0.npz`.
    medium : {"air", "vacuum"}, optional
        Medium of the wavelengths; by default air if the name holds "miles", else vacuum.

    Returns
    -------
    SSPLibrary
        Library over all wavelengths of the file; `cut` it to the optical, as these often reach from the
        ultraviolet to the infrared.

    Raises
    ------
    LibraryError
        If the file is missing, damaged, or lacks an array.
    """
    path = Path(path)
    arrays = _arrays(path)
    templates = arrays["templates"]
    if templates.ndim != 3:
        raise LibraryError(
            f"{path}: templates have shape {templates.shape}, expected (wavelengths, ages, metallicities); "
            "write the grid as pPXF does"
        )
    if medium is None:
        medium = "air" if "miles" in path.name.lower() else "vacuum"
    return SSPLibrary(
        name=path.stem,
        ages_gyr=arrays["ages"],
        metallicities=arrays["metals"],
        wavelength=arrays["lam"],
        flux=np.moveaxis(templates, 0, -1),
        fwhm=arrays["fwhm"],
        medium=medium,
        metadata={
            "flux_unit": "Lsun / Angstrom / Msun formed",
            "credit": "grid of pPXF (Cappellari 2023, MNRAS 526, 3273); cite the models' authors as well",
            "licence": "that of the models' authors",
        },
    )


def _arrays(path: Path) -> dict[str, NDArray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := [key for key in _KEYS if key not in file]:
                raise LibraryError(
                    f"{path}: {', '.join(missing)} missing, expected the arrays {', '.join(_KEYS)} of a pPXF "
                    "library; check that it is one"
                )
            return {key: file[key].astype(float) for key in _KEYS}
    except LibraryError:
        raise
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise LibraryError(
            f"{path}: not readable as NumPy .npz ({error}), expected a pPXF library; download it again"
        ) from error
