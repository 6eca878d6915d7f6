"""To astropy: a table with one row a sample, and units that compute."""

from __future__ import annotations

from typing import Any

import astropy.units as u
from astropy.table import QTable

from sfhflow.derived import all_columns
from sfhflow.posterior import Posterior

__all__ = ["to_table"]


def to_table(posterior: Posterior) -> QTable:
    """Return the samples as an astropy table.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.

    Returns
    -------
    QTable
        One row a sample, a column for every inferred and derived quantity; NaN where undefined.  Logarithms of
        rates are `astropy.units.Dex` quantities, whose ``.physical`` is the rate.  `meta` holds name, redshift,
        age of the Universe, model, seed and verdict.  It can be written as ECSV or FITS.
    """
    table = QTable(
        {
            name: u.Quantity(samples, _unit(unit), subok=True)
            for name, (samples, unit) in all_columns(posterior).items()
        }
    )
    table.meta.update(_meta(posterior))
    return table


def _unit(name: str) -> Any:
    if name.startswith("dex("):
        # a logarithm is a unit of its own kind, which subok keeps
        return u.dex(u.Unit(name.removeprefix("dex(").removesuffix(")")))
    return u.Unit(name)


def _meta(posterior: Posterior) -> dict[str, Any]:
    return {
        "name": posterior.spectrum.name,
        "redshift": posterior.spectrum.redshift,
        "age_of_universe_gyr": posterior.age_of_universe,
        "model": posterior.model,
        "seed": posterior.seed,
        "verdict": posterior.verdict.text,
    }
