"""Errors a user can mend.

Every message is one sentence that says where the problem is (a file, a key), what was found, what was
expected and what to do.  The command line prints that sentence and exits with code 2; in a batch it is
recorded for the one spectrum concerned.
"""

from __future__ import annotations

__all__ = ["ConfigError", "InputError", "LibraryError", "ModelError", "SpectrumError"]


class InputError(ValueError):
    """Base of all errors caused by what the user supplied."""


class SpectrumError(InputError):
    """A spectrum that cannot be read or cannot be used."""


class LibraryError(InputError):
    """An SSP library that cannot be read, or a request outside its range."""


class ConfigError(InputError):
    """A configuration file or option with an invalid value."""


class ModelError(InputError):
    """A model directory that cannot be loaded."""
