"""Shared fixtures: where other people's data lie, when they are there."""

import os
from pathlib import Path

import pytest

_DATA = Path(os.environ.get("SFHFLOW_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real spectra and SSP libraries that are not part of the repository."""
    if not _DATA.is_dir():
        pytest.skip(f"no external data at {_DATA}; set SFHFLOW_SHARED_DATA to run this test")
    return _DATA
