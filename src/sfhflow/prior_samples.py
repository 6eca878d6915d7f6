"""What was believed before: samples of the prior in the form of a posterior, to be put beside it.

The prior of the star formation history depends on the age of the Universe, so it is drawn at the redshift of the
galaxy; the other parameters do not depend on it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sfhflow.config import Config
from sfhflow.errors import ModelError
from sfhflow.model import Model
from sfhflow.posterior import Posterior
from sfhflow.prior import Prior

__all__ = ["prior_of", "prior_samples"]


def prior_of(model: Model) -> Prior:
    """Return the prior that a model was trained with.

    Raises
    ------
    ModelError
        If the card of the model does not tell.
    """
    try:
        return Config.model_validate(model.card["config"]).galaxies()
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{model.name}: the card does not tell the prior ({type(error).__name__}), expected the configuration "
            "of the training; make the prior by hand, see sfhflow.prior"
        ) from error


def prior_samples(posterior: Posterior, prior: Prior, *, n_samples: int = 2000, seed: int = 0) -> Posterior:
    """Draw from the prior at the redshift of a galaxy.

    Parameters
    ----------
    posterior : Posterior
        Whose redshift it is.
    prior : Prior
        Usually `prior_of` the model.
    n_samples, seed : int
        Number of samples, and the seed of their random numbers.

    Returns
    -------
    Posterior
        Of the same spectrum and model, but with samples of the prior.
    """
    generator = torch.Generator().manual_seed(seed)
    galaxy, _ = prior.sample(n_samples, generator)
    age = torch.full((n_samples,), posterior.age_of_universe, dtype=torch.float64)
    times = prior.sample_times(age, generator)
    drawn = {name: getattr(galaxy, name).numpy() for name in ("metallicity", "a_v", "sigma_kms")}
    return replace(posterior, times=times.numpy(), **drawn, seed=seed)
