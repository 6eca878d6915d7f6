"""Optional dependencies: imported when first needed, with a sentence that names what to install."""

from __future__ import annotations

import importlib
from typing import Any

from sfhflow.errors import InputError

__all__ = ["optional"]


def optional(module: str, *, extra: str) -> Any:
    """Import a module that an extra of this package brings.

    Parameters
    ----------
    module : str
        Full name, such as ``bokeh.plotting``.
    extra : str
        The extra that brings it.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f'{module.split(".")[0]} cannot be imported ({error}), expected the "{extra}" extra; '
            f'run pip install "sfhflow[{extra}]"'
        ) from error
