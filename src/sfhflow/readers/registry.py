"""The registry: which readers there are, and which one a file is for.

A reader is a module with a `NAME`, a function ``identify(opened) -> bool`` that looks at the content of a
file and one ``read(opened) -> RawSpectra``.  The first that identifies a file reads it, surveys before
generic layouts.  To support another survey, write such a module and add it here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from astropy.io.fits import VerifyError
from astropy.utils.exceptions import AstropyWarning

from sfhflow.errors import SpectrumError
from sfhflow.readers import (
    califa,
    desi,
    eso,
    images,
    manga,
    manga_dap,
    muse,
    prospector,
    sdss,
    spspec,
    table,
    text,
    wcs1d,
    weave,
)
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra, RawSpectrum

__all__ = ["READERS", "Reader", "read_raw"]


class Reader(Protocol):
    """One layout of spectra."""

    NAME: str

    def identify(self, opened: OpenedFile, /) -> bool:
        """Tell whether the file has this layout."""

    def read(self, opened: OpenedFile, /) -> RawSpectra:
        """Read all spectra of the file; raises `SpectrumError`."""


#: Tried in this order.
READERS: tuple[Reader, ...] = (
    sdss,
    spspec,
    desi,
    manga_dap,
    images,
    manga,
    califa,
    muse,
    weave,
    eso,
    prospector,
    table,
    wcs1d,
    text,
)

# What astropy raises, besides OSError, when the bytes of a damaged file do not mean what its header says.
_DAMAGE = (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, VerifyError)


def read_raw(opened: OpenedFile) -> tuple[str, RawSpectra]:
    """Find the reader of a file and read it.

    Parameters
    ----------
    opened : OpenedFile
        The file.

    Returns
    -------
    name : str
        The reader's name.
    spectra : RawSpectra
        All spectra, at least one; making one raises `SpectrumError` if its data are damaged.

    Raises
    ------
    SpectrumError
        If no reader knows the file, or it is damaged or incomplete.
    """
    with _naming_damage(opened, "FITS tables and images"):
        reader = next((reader for reader in READERS if reader.identify(opened)), None)
    if reader is None:
        raise _unknown(opened)
    layout = f"the {reader.NAME} layout"
    with _naming_damage(opened, layout):
        spectra = reader.read(opened)
    if not spectra.numbers:
        raise SpectrumError(f"{opened.path}: found no spectrum with data, expected at least one; check the file")

    def make(number: int) -> RawSpectrum:
        with _naming_damage(opened, layout):
            return spectra.make(number)

    return reader.NAME, RawSpectra(spectra.numbers, make)


@contextmanager
def _naming_damage(opened: OpenedFile, layout: str) -> Iterator[None]:
    """Turn the errors that damaged data cause into one that names the file."""
    try:
        with warnings.catch_warnings():
            # cards that are not quite standard are common and harmless
            warnings.simplefilter("ignore", AstropyWarning)
            yield
    except SpectrumError:
        raise
    except _DAMAGE as error:
        raise SpectrumError(
            f"{opened.path}: the data are damaged ({type(error).__name__}: {' '.join(str(error).split())}), "
            f"expected {layout}; download the file again"
        ) from error


def _unknown(opened: OpenedFile) -> SpectrumError:
    found = ", ".join(hdu.name or f"#{i}" for i, hdu in enumerate(opened.hdus or ()))
    damage = f"; it may be damaged ({opened.damage}), then download it again" if opened.damage else ""
    return SpectrumError(
        f"{opened.path}: found FITS with HDUs {_short(found)}, expected a spectrum in one of the layouts "
        f"{', '.join(reader.NAME for reader in READERS)}; convert it to a table or text with columns "
        f"wavelength, flux, error{damage}"
    )


def _short(text: str, length: int = 120) -> str:
    return text if len(text) <= length else f"{text[:length]} ..."
