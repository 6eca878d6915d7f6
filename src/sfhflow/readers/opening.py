"""Open a file once, and find out by its content what it is.

A FITS file begins with ``SIMPLE  =``, a gzip stream with the bytes 1f 8b, and text holds no NUL bytes; names
and extensions play no part.  A FITS file is read into memory, or mapped if it is a large cube, and every
header-data unit is checked to lie inside it, so that a download that broke off is noticed here and not by a
reader half-way (FITS standard 4.0, Pence et al. 2010, A&A 524, A42, section 3).
"""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from astropy.io import fits

from sfhflow.errors import SpectrumError

__all__ = ["OpenedFile", "open_file"]

_GZIP_MAGIC = b"\x1f\x8b"
_FITS_MAGIC = b"SIMPLE  ="
_EXTENSION_MAGIC = b"XTENSION"
# Larger FITS files are mapped; smaller ones are copied, which is safe if somebody writes to them meanwhile.
_MAP_ABOVE_BYTES = 512 * 1024**2


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """An open file, given to each reader in turn; exactly one of `hdus` and `text` is not None.

    Parameters
    ----------
    path : Path
        Where it lies.
    hdus : astropy.io.fits.HDUList, optional
        Content of a FITS file.
    text : str, optional
        Content of a text file.
    damage : str
        What the FITS library had to say about the file, if anything.
    """

    path: Path
    hdus: fits.HDUList | None = None
    text: str | None = None
    damage: str = ""

    def hdu(self, name: str) -> Any:
        """Return the header-data unit called `name`, or None."""
        return next((hdu for hdu in self.hdus or () if hdu.name == name.upper()), None)

    def image(self, name: str) -> Any:
        """Return the data of the image called `name`.

        Raises
        ------
        SpectrumError
            If there is no such image, or it is empty.
        """
        hdu = self.hdu(name)
        if hdu is None or hdu.data is None:
            found = ", ".join(hdu.name or str(i) for i, hdu in enumerate(self.hdus or ()))
            raise SpectrumError(
                f"{self.path}: HDU {name} is missing or empty (found {found}), expected it beside the rest; "
                "download the file again or convert it to a table with wavelength, flux and error"
            )
        return hdu.data

    def tables(self) -> Iterator[tuple[Any, dict[str, str]]]:
        """Yield each FITS table with its columns: lower-case name to name."""
        for hdu in self.hdus or ():
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and hdu.columns is not None:
                yield hdu, {name.lower(): name for name in hdu.columns.names}


def open_file(path: Path) -> OpenedFile:
    """Read `path` and tell FITS from text.

    Parameters
    ----------
    path : Path
        A FITS or text file, possibly compressed with gzip.

    Returns
    -------
    OpenedFile

    Raises
    ------
    SpectrumError
        If the file is missing, empty, a directory, truncated, or neither FITS nor text.
    """
    try:
        with path.open("rb") as stream:
            if _is_large_fits(stream):
                return _open_fits(path, stream, memmap=True)
            data = _unzip(path, stream.read())
    except FileNotFoundError as error:
        raise SpectrumError(f"{path}: no such file, expected a spectrum; check the path") from error
    except IsADirectoryError as error:
        message = f"{path}: this is a directory, expected a file; name the files inside it"
        raise SpectrumError(message) from error
    except OSError as error:
        raise SpectrumError(
            f"{path}: cannot be read ({error.strerror}), expected a readable file; "
            "check the path and its permissions"
        ) from error
    if not data.strip():
        raise SpectrumError(
            f"{path}: the file is empty, expected a spectrum as FITS or text; download or write it again"
        )
    if data.startswith(_FITS_MAGIC):
        return _open_fits(path, BytesIO(data), memmap=False)
    if b"\0" in data:
        raise SpectrumError(
            f"{path}: found binary data that is not FITS (it begins with {data[:8]!r}), expected FITS or "
            "text; convert it to FITS or to text with columns wavelength, flux, error"
        )
    return OpenedFile(path, text=_decode(data))


def _is_large_fits(stream: BinaryIO) -> bool:
    """Tell whether a file is to be mapped; leaves the stream at its start."""
    large = os.fstat(stream.fileno()).st_size > _MAP_ABOVE_BYTES
    if not large:
        return False
    is_fits = stream.read(len(_FITS_MAGIC)) == _FITS_MAGIC
    stream.seek(0)
    return is_fits


def _unzip(path: Path, data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise SpectrumError(
            f"{path}: the gzip stream is truncated or damaged ({error}), expected a whole one; "
            "download the file again"
        ) from error


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _open_fits(path: Path, stream: BinaryIO, *, memmap: bool) -> OpenedFile:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hdus = fits.open(stream, memmap=memmap, lazy_load_hdus=False)
            _check_whole(path, hdus, stream)
            if memmap:
                _map(hdus)
        except SpectrumError:
            raise
        except (OSError, ValueError, TypeError, LookupError, AttributeError, fits.VerifyError) as error:
            raise SpectrumError(
                f"{path}: found a FITS file that cannot be opened ({error}), expected a whole one; "
                "download the file again"
            ) from error
    damage = "; ".join(" ".join(str(w.message).split()) for w in caught if "HDU #" in str(w.message))
    return OpenedFile(path, hdus=hdus, damage=damage)


def _map(hdus: fits.HDUList) -> None:
    """Map the data of all units; the maps outlive the stream."""
    for hdu in hdus:
        _ = hdu.data


def _check_whole(path: Path, hdus: fits.HDUList, stream: BinaryIO) -> None:
    """Refuse a file that ends before the data (padded to blocks of 2880 bytes) that its headers promise."""
    size = stream.seek(0, os.SEEK_END)
    for i, hdu in enumerate(hdus):
        info = hdus.fileinfo(i)
        needed = info["datLoc"] + info["datSpan"]
        if needed > size:
            raise SpectrumError(
                f"{path}: the file is truncated, found {size} bytes, expected at least {needed} for HDU "
                f"{hdu.name or i}; download the file again"
            )
    # a header that breaks off makes its HDU vanish without an error, and a mask might be lost with it
    last = hdus.fileinfo(len(hdus) - 1)
    stream.seek(last["datLoc"] + last["datSpan"])
    if stream.read(len(_EXTENSION_MAGIC)) == _EXTENSION_MAGIC:
        raise SpectrumError(
            f"{path}: the file is truncated or damaged in the header after HDU {hdus[-1].name or len(hdus) - 1}, "
            "expected a whole one; download the file again"
        )
