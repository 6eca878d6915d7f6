"""To arviz: one chain of independent draws.

The draws come from the density itself, so there is nothing that could not have converged: R-hat and the effective
sample size of such a chain say nothing about the quality of an amortized posterior.  Its verdict and its
calibration do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sfhflow.derived import all_columns
from sfhflow.extras import optional
from sfhflow.posterior import Posterior
from sfhflow.report import summary_dict

__all__ = ["to_inference_data"]

_PROVENANCE = ("model", "version", "input", "redshift", "seed", "age_of_universe_gyr")


def to_inference_data(posterior: Posterior, *, version: str = "") -> Any:
    """Return an ``arviz.InferenceData`` with the samples and the spectrum.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    version : str
        Version of the software, for the attributes.

    Returns
    -------
    arviz.InferenceData
        Group ``posterior``: every inferred and derived quantity, dimensions (chain = 1, draw = n), with its unit
        as the attribute ``unit``.  Group ``observed_data``: ``flux`` and ``error`` (NaN where masked) over
        ``wavelength`` (Angstrom).  Attributes: model, input, redshift, seed and the verdict.

    Raises
    ------
    InputError
        If the extra ``arviz`` is not installed.
    """
    arviz = optional("arviz", extra="arviz")
    columns, data = all_columns(posterior), posterior.spectrum
    good = ~data.mask
    result = arviz.from_dict(
        posterior={name: samples[None] for name, (samples, _) in columns.items()},
        observed_data={name: np.where(good, getattr(data, name), np.nan) for name in ("flux", "error")},
        coords={"wavelength": data.wavelength},
        dims={"flux": ["wavelength"], "error": ["wavelength"]},
    )
    for name, (_, unit) in columns.items():
        result.posterior[name].attrs["unit"] = unit
    result.posterior.attrs.update(_attributes(posterior, version))
    return result


def _attributes(posterior: Posterior, version: str) -> dict[str, Any]:
    """Provenance as numbers and text, which is all that netCDF files hold."""
    summary = summary_dict(posterior, version=version)
    return {name: summary[name] for name in _PROVENANCE} | {
        "verdict": posterior.verdict.text,
        "verdict_ok": int(posterior.verdict.ok),
    }
