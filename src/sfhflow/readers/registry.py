"""The registry: which readers there are, and which one a file is for.

A reader is a module with a `NAME`, a function ``identify(opened) -> bool`` that looks at the content of a
file and one ``read(opened) -> list[RawSpectrum]``.  The first that identifies a file reads it, surveys before
generic layouts.  To support another survey, write such a module and add it here.
"""

from __future__ import annotations

import warnings
from typing import Protocol

from astropy.io.fits import VerifyError
from astropy.utils.exceptions import AstropyWarning

from sfhflow.errors import SpectrumError
from sfhflow.readers import desi, manga, prospector, sdss, spspec, table, text, wcs1d
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectrum

__all__ = ["READERS", "Reader", "read_raw"]


class Reader(Protocol):
    """One layout of spectra."""

    NAME: str

    def identify(self, opened: OpenedFile, /) -> bool:
        """Tell whether the file has this layout."""

    def read(self, opened: OpenedFile, /) -> list[RawSpectrum]:
        """Read all spectra of the file; raises `SpectrumError`."""


#: Tried in this order.
READERS: tuple[Reader, ...] = (sdss, spspec, desi, manga, prospector, table, wcs1d, text)

# What astropy raises, besides OSError, when the bytes of a damaged file do not mean what its header says.
_DAMAGE = (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, VerifyError)


def read_raw(opened: OpenedFile) -> tuple[str, list[RawSpectrum]]:
    """Find the reader of a file and read it.

    Parameters
    ----------
    opened : OpenedFile
        The file.

    Returns
    -------
    name : str
        The reader's name.
    spectra : list of RawSpectrum
        All spectra, at least one.

    Raises
    ------
    SpectrumError
        If no reader knows the file, or it is damaged or incomplete.
    """
    reader: Reader | None = None
    try:
        with warnings.catch_warnings():
            # cards that are not quite standard are common and harmless
            warnings.simplefilter("ignore", AstropyWarning)
            reader = next((reader for reader in READERS if reader.identify(opened)), None)
            spectra = reader.read(opened) if reader else []
    except SpectrumError:
        raise
    except _DAMAGE as error:
        layout = f"the {reader.NAME} layout" if reader else "FITS tables and images"
        raise SpectrumError(
            f"{opened.path}: the data are damaged ({type(error).__name__}: {' '.join(str(error).split())}), "
            f"expected {layout}; download the file again"
        ) from error
    if reader is None:
        raise _unknown(opened)
    if not spectra:
        raise SpectrumError(f"{opened.path}: found no spectrum with data, expected at least one; check the file")
    return reader.NAME, spectra


def _unknown(opened: OpenedFile) -> SpectrumError:
    found = ", ".join(hdu.name or f"#{i}" for i, hdu in enumerate(opened.hdus or ()))
    damage = f"; it may be damaged ({opened.damage}), then download it again" if opened.damage else ""
    return SpectrumError(
        f"{opened.path}: found FITS with HDUs {found}, expected a spectrum in one of the layouts "
        f"{', '.join(reader.NAME for reader in READERS)}; convert it to a table or text with columns "
        f"wavelength, flux, error{damage}"
    )
