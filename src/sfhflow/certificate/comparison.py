"""Whether a certificate repeats another one of the same model, within what chance allows.

The coverage of n galaxies has the variance l (1 - l) / n, so two certificates from different galaxies differ by
less than a few times sqrt(l (1 - l) (1 / n + 1 / m)) everywhere; two with the same galaxies do not differ at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sfhflow.certificate.criteria import Criterion

__all__ = ["compare"]

# of the largest of a few dozen differences
_MAX_ERRORS = 4.0


def compare(found: Mapping[str, Any], carried: Mapping[str, Any]) -> Criterion:
    """Judge whether the coverage of all galaxies and that in bins of S/N is that of another certificate.

    Parameters
    ----------
    found, carried : mapping
        Certificates in their plain form (`Certificate.to_dict`).

    Returns
    -------
    Criterion
        Its value is the largest difference in standard errors.
    """
    level = np.array(found["levels"])[:, None]
    worst, where = 0.0, "all"
    pairs = [(found["everything"], carried["everything"])]
    pairs += list(zip(found["local"]["snr"], carried["local"]["snr"], strict=True))
    for one, other in pairs:
        n, m = one["n_galaxies"], other["n_galaxies"]
        if not n or not m:
            continue
        error = np.sqrt(level * (1 - level) * (1 / n + 1 / m))
        largest = float((np.abs(np.array(one["coverage"]) - np.array(other["coverage"])) / error).max())
        if largest > worst:
            worst, where = largest, one["label"]
    return Criterion(
        "reproduced",
        "The model's own certificate is repeated: largest difference of coverage in standard errors",
        worst,
        _MAX_ERRORS,
        "pass" if worst <= _MAX_ERRORS else "fail",
        where,
    )
