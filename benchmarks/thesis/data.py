"""Stage: the training set (thesis section 3.1, table 1, figures 5 and 6)."""

from __future__ import annotations

from typing import Any

from benchmarks.thesis.context import Context


def run(context: Context) -> dict[str, Any]:
    """Make the data sets and describe them."""
    data = context.dataset("discrete")
    return {"n_spectra": len(data), "n_pixels": len(data.wavelength)}


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    return [f"{result['n_spectra']} spectra of {result['n_pixels']} pixels."]
