"""To dense_basis: the tuple (log M, log SFR, N, t_1 ... t_N) that describes a star formation history.

The t_k are the cosmic times when the fractions k / (N + 1) of the mass had formed, in units of the age of the
Universe, as ``dense_basis.tuple_to_sfh`` and this package's `sfhflow.sfh.gp_sfr` take them (Iyer et al. 2019, ApJ
879, 116).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfhflow.derived import log_ssfr
from sfhflow.errors import InputError
from sfhflow.parameters import FRACTIONS
from sfhflow.posterior import Posterior

__all__ = ["sfh_tuples"]


def sfh_tuples(
    posterior: Posterior, n_times: int = 3, *, log_mass: float = 0.0, window_gyr: float = 0.1
) -> NDArray[np.float64]:
    """Return the samples as tuples of dense_basis.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    n_times : int
        Number of times in a tuple: 3 stands for 25, 50 and 75 %.
    log_mass : float
        log10 of the mass formed in solar masses, which a spectrum alone does not tell.
    window_gyr : float
        The present star formation rate is the mean over this time.

    Returns
    -------
    array of shape (n, 3 + n_times)
        log10 M (Msun formed), log10 SFR (Msun/yr; not below 1e-14 a year per mass), n_times, and the times as
        fractions of the age of the Universe.

    Raises
    ------
    InputError
        If `n_times` is less than one.
    """
    if n_times < 1:
        raise InputError(f"n_times is {n_times}, expected at least 1; ask for more")
    wanted = np.arange(1, n_times + 1) / (n_times + 1)
    # between formation times the rate is constant, so the inverse of the mass is linear, too
    times = np.array([np.interp(wanted, FRACTIONS, row) for row in posterior.times])
    rate = log_ssfr(posterior.times, posterior.age_of_universe, window_gyr) + log_mass
    head = np.column_stack([np.full(len(rate), log_mass), rate, np.full(len(rate), n_times)])
    return np.hstack([head, times / posterior.age_of_universe])
