"""What the server remembers: spectra with their last results, in memory, for a while."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from sfhflow.curves import Predictive
from sfhflow.errors import InputError
from sfhflow.posterior import Posterior
from sfhflow.spectrum import Spectrum

__all__ = ["Entry", "Fitted", "Store"]


@dataclass(frozen=True)
class Fitted:
    """A posterior, and the spectra it predicts if the SSP library is at hand."""

    posterior: Posterior
    predictive: Predictive | None


@dataclass(frozen=True)
class Entry:
    """A spectrum as it was read, and its last fit."""

    spectrum: Spectrum
    fitted: Fitted | None = None


class Store:
    """Entries under keys that cannot be guessed; beyond `size`, those unused for longest are forgotten.

    Entries are immutable and replaced whole, so that requests at the same time never see half of a change.
    """

    def __init__(self, size: int = 60) -> None:
        self._size = size
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = Lock()

    def add(self, spectrum: Spectrum) -> str:
        """Keep a spectrum and return its key."""
        key = secrets.token_urlsafe(16)
        self.put(key, Entry(spectrum))
        return key

    def put(self, key: str, entry: Entry) -> None:
        """Set what is under a key."""
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def get(self, key: str) -> Entry:
        """Return what is under a key.

        Raises
        ------
        InputError
            If there is nothing, or no longer.
        """
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        raise InputError("this spectrum is no longer held, expected one of the latest; add the file again")

    def fitted(self, key: str) -> Fitted:
        """Return the last fit under a key.

        Raises
        ------
        InputError
            If there is none.
        """
        entry = self.get(key)
        if entry.fitted is None:
            raise InputError(f"{entry.spectrum.name}: there is no result yet, expected a fit; fit it first")
        return entry.fitted

    def remove(self, key: str) -> None:
        """Forget a key; one that is not there is no error."""
        with self._lock:
            self._entries.pop(key, None)
