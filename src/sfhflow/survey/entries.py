"""What a survey reads: one entry a spectrum, or the reason why there is none.

An entry names its origin by `input`, a file as the user or a table gave it, and by `index`, the number of the
spectrum in that file; these two are the key of a row of the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sfhflow.errors import InputError, SpectrumError
from sfhflow.readers import iter_spectra, stem
from sfhflow.spectrum import Spectrum

__all__ = ["Entry", "failure", "file_entries"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A spectrum of a survey, or why it cannot be used."""

    input: str
    index: int | None
    name: str
    spectrum: Spectrum | InputError


def file_entries(given: str, path: Path) -> Iterator[Entry]:
    """Read all spectra of a file; a file that cannot be read is one entry with the error.

    Parameters
    ----------
    given : str
        The file as the user named it.
    path : Path
        Where it lies.
    """
    try:
        for index, name, spectrum in iter_spectra(path):
            yield Entry(given, index, name, spectrum)
    except Exception as error:  # noqa: BLE001 - see `failure`
        yield Entry(given, None, stem(given), failure(given, error))


def failure(given: str | Path, error: Exception) -> InputError:
    """Turn what reading a file has raised into an error of that file.

    Damaged bytes can do anything to a reader, and among millions of files they will; none may stop a survey.  A
    lack of memory is no fault of the file, and is raised again.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, InputError):
        return error
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return SpectrumError(
        f"{given}: reading it failed ({reason}), expected a spectrum; download it again, and report the failure "
        "if the file is sound"
    )
