"""Read an upload that nobody vouches for.

Its name is only ever shown, never used as a path; its bytes lie under a fixed name in a new temporary folder while
they are read; and what is packed may not unpack to more than memory can hold.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from sfhflow.errors import SpectrumError
from sfhflow.readers import iter_spectra, stem
from sfhflow.readers.raw import ReadOptions
from sfhflow.spectrum import Spectrum

__all__ = ["MAX_BYTES", "MAX_SPECTRA", "MAX_UNPACKED_BYTES", "display_name", "read_upload"]

MAX_BYTES = 50 * 10**6
MAX_UNPACKED_BYTES = 400 * 10**6
MAX_SPECTRA = 20
_MAX_NAME = 80


def display_name(name: str) -> str:
    """Return the last part of a file's name, without control characters, of moderate length."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip(" .")
    return shown[-_MAX_NAME:] or "spectrum"


def read_upload(data: bytes, name: str, options: ReadOptions) -> tuple[list[Spectrum], list[str]]:
    """Read the spectra of an upload.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Name it had where it came from.
    options : ReadOptions
        What the user says about it.

    Returns
    -------
    spectra : list of Spectrum
        At least one.
    problems : list of str
        A sentence for each spectrum of the file that cannot be used, if there are others.

    Raises
    ------
    SpectrumError
        If there is none that can be used, or too many or too much.
    """
    shown = display_name(name)
    _check_size(data, shown)
    with TemporaryDirectory(prefix="sfhflow-") as folder:
        path = Path(folder) / "upload"
        path.write_bytes(data)
        try:
            found = list(islice(iter_spectra(path, **vars(options)), MAX_SPECTRA + 1))
        except SpectrumError as error:
            raise SpectrumError(str(error).replace(str(path), shown)) from error
    if len(found) > MAX_SPECTRA:
        raise SpectrumError(
            f"{shown}: found more than {MAX_SPECTRA} spectra, expected at most {MAX_SPECTRA} on this page; "
            "fit the file with the command sfhflow fit"
        )
    good = [(label, item) for _, label, item in found if isinstance(item, Spectrum)]
    problems = [str(item).replace(str(path), shown) for _, _, item in found if not isinstance(item, Spectrum)]
    if not good:
        raise SpectrumError(problems[0])
    return [_named(spectrum, label, shown) for label, spectrum in good], problems


def _check_size(data: bytes, shown: str) -> None:
    """Refuse what is too large, or would be once unpacked."""
    too_large = len(data) > MAX_BYTES
    if data[:2] == b"\x1f\x8b" and not too_large:
        too_large = _unpacks_to_more_than(MAX_UNPACKED_BYTES, data)
    if too_large:
        raise SpectrumError(
            f"{shown}: the file is too large, expected at most {MAX_BYTES // 10**6} MB "
            f"({MAX_UNPACKED_BYTES // 10**6} MB unpacked); cut it down or use the command sfhflow fit"
        )


def _unpacks_to_more_than(limit: int, data: bytes, step: int = 2**20) -> bool:
    """Unpack bit by bit without keeping anything; damage is left for the reader to describe."""
    total, rest = 0, data
    while rest:
        stream = zlib.decompressobj(wbits=31)
        try:
            while rest and not stream.eof:
                total += len(stream.decompress(rest, step))
                rest = stream.unconsumed_tail
                if total > limit:
                    return True
        except zlib.error:
            return False
        if not stream.eof:
            return False
        rest = stream.unused_data
    return False


def _named(spectrum: Spectrum, label: str, shown: str) -> Spectrum:
    # "upload" or "upload_3" becomes the name of the file with the same ending
    name = f"{stem(shown)}{label.removeprefix('upload')}"
    return replace(spectrum, name=name, meta={**spectrum.meta, "file": shown})
