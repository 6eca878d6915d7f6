"""Example spectra: those that the distribution of ppxf brings, which is never imported itself.

They are spectra of the Sloan Digital Sky Survey (data release 18, Almeida et al. 2023, ApJS 267, 44) of two
nearby galaxies.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from sfhflow.errors import InputError

__all__ = ["EXAMPLES", "example_path"]

EXAMPLES = {
    "NGC3522": ("ppxf/spectra/NGC3522_SDSS_DR18.fits", "elliptical galaxy, SDSS"),
    "NGC3073": ("ppxf/spectra/NGC3073_SDSS_DR18.fits", "dwarf lenticular galaxy, SDSS"),
}
"""Name of each example, its file in the ppxf distribution, and what it is."""


def example_path(name: str) -> Path:
    """Find the file of an example.

    Raises
    ------
    InputError
        If there is no such example, or it is not installed.
    """
    if name not in EXAMPLES:
        raise InputError(f"example {name!r} is unknown, expected one of {', '.join(EXAMPLES)}; choose one of them")
    try:
        path = Path(str(metadata.distribution("ppxf").locate_file(EXAMPLES[name][0])))
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f'example {name}: the spectrum is not installed, expected the "demo" extra; '
            'run pip install "sfhflow[demo]", or use a spectrum of your own'
        ) from error
    if not path.exists():
        raise InputError(
            f"example {name}: {path} is missing, expected the spectrum that ppxf 9.2 or later brings; "
            'run pip install --upgrade "sfhflow[demo]"'
        )
    return path
