"""Libraries on disk, and the libraries that ship with the package.

A stored library is one safetensors file: the axes of the grid in double precision, and the spectra in the
low-rank form of `sfhflow.ssp.lowrank` in single precision, with the names and credits as JSON in the header.
Nothing in such a file is executed when it is read.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from sfhflow.errors import LibraryError
from sfhflow.ssp import miles, ppxf_npz
from sfhflow.ssp.library import SSPLibrary
from sfhflow.ssp.lowrank import LowRank, compress, expand

__all__ = ["load", "load_shipped", "open_library", "save", "shipped_names"]

_FORMAT = "sfhflow-ssp-1"
_SHIPPED = {"fastar-kroupa": "ssp_fastar_kroupa.safetensors"}
_AXES = ("ages_gyr", "metallicities", "wavelength", "fwhm")
_TENSORS = (*_AXES, "coefficients", "basis")


def save(library: SSPLibrary, path: str | Path, *, tolerance: float = 1e-4) -> None:
    """Write a library to a safetensors file in low-rank form.

    Parameters
    ----------
    library : SSPLibrary
        Library to store.
    path : path
        File to write; its folder is made.
    tolerance : float
        Largest relative error of any stored pixel; a noisy library needs a higher rank, and a larger file,
        for the same tolerance.
    """
    coefficients, basis = compress(library.flux, tolerance=tolerance)
    tensors = {key: np.array(getattr(library, key), dtype=np.float64) for key in _AXES}
    tensors["coefficients"] = np.ascontiguousarray(coefficients, dtype=np.float32)
    tensors["basis"] = np.ascontiguousarray(basis, dtype=np.float32)
    header = {
        "format": _FORMAT,
        "name": library.name,
        "medium": library.medium,
        "metadata": json.dumps(dict(library.metadata), sort_keys=True),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(tensors, metadata=header))


def load(path: str | Path) -> SSPLibrary:
    """Read a library written by `save`.

    Raises
    ------
    LibraryError
        If the file is missing, is no safetensors file, or holds something else than an SSP library.
    """
    path = Path(path)
    if not path.is_file():
        raise LibraryError(f"{path}: no such file, expected an SSP library; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise LibraryError(
            f"{path}: not readable as safetensors ({error}), expected an SSP library; fetch or build it again"
        ) from error
    return _from_tensors(path, header, tensors)


def load_shipped(name: str = "fastar-kroupa") -> SSPLibrary:
    """Load a library that comes with the package.

    Raises
    ------
    LibraryError
        If there is no library of that name.
    """
    if name not in _SHIPPED:
        raise LibraryError(
            f"SSP library {name!r} does not ship with sfhflow, expected one of {', '.join(shipped_names())}; "
            "choose one of them or give a path"
        )
    with resources.as_file(resources.files("sfhflow") / "data" / _SHIPPED[name]) as path:
        return load(path)


def shipped_names() -> tuple[str, ...]:
    """Names of the libraries that come with the package."""
    return tuple(sorted(_SHIPPED))


def open_library(name_or_path: str | Path) -> SSPLibrary:
    """Open a library by the name of a shipped one, or by a path.

    Parameters
    ----------
    name_or_path : str or path
        A shipped name; a `.safetensors` file; a pPXF `.npz` file; a folder or tar file of MILES FITS files.

    Raises
    ------
    LibraryError
        If nothing of the kind is there, or it cannot be read.
    """
    if str(name_or_path) in _SHIPPED:
        return load_shipped(str(name_or_path))
    path = Path(name_or_path).expanduser()
    if path.suffix == ".safetensors":
        return load(path)
    if path.suffix == ".npz":
        return ppxf_npz.read(path)
    if path.is_dir() or path.name.endswith(miles.TAR_SUFFIXES):
        return miles.read(path)
    raise LibraryError(
        f"{name_or_path}: not an SSP library, expected one of {', '.join(shipped_names())}, a .safetensors "
        "or .npz file, or a folder or tar of MILES FITS files; check the name or the path"
    )


def _from_tensors(path: Path, header: dict[str, str], tensors: dict[str, Any]) -> SSPLibrary:
    missing = [key for key in _TENSORS if key not in tensors]
    if header.get("format") != _FORMAT or missing:
        raise LibraryError(
            f"{path}: format is {header.get('format')!r} and {missing or 'nothing'} is missing, expected "
            f"{_FORMAT!r} with {', '.join(_TENSORS)}; write it with sfhflow.ssp.save"
        )
    lowrank = LowRank(*(tensors[key].astype(np.float64) for key in ("coefficients", "basis")))
    return SSPLibrary(
        name=header["name"],
        flux=expand(lowrank),
        medium=header["medium"],  # type: ignore[arg-type]
        metadata=json.loads(header["metadata"]),
        **{key: tensors[key] for key in _AXES},
    )
