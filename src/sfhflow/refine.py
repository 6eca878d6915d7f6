"""From a model to what refines its answers: the simulator of its own configuration, and the true likelihood."""

from __future__ import annotations

from pathlib import Path

from sfhflow.config import Config, read_config
from sfhflow.errors import InputError
from sfhflow.exact import Refiner
from sfhflow.model import Model

__all__ = ["refiner"]


def refiner(model: Model, config: str | Path | None = None, *, budget: int = 20_000) -> Refiner:
    """Make what `Posterior.refine` needs; it loads the SSP library, so make it once for many galaxies.

    Parameters
    ----------
    model : Model
        The model whose answers are refined.
    config : str or path, optional
        Configuration file of another prior or SSP library, to compare its evidence; by default the model's own.
    budget : int
        Largest number of likelihoods for a galaxy.

    Raises
    ------
    InputError
        If the model does not say how it was trained, or the library is missing.
    """
    if config is not None:
        return Refiner(model, read_config(config).simulator(), budget=budget)
    if "config" not in model.card:
        raise InputError(
            f"model {model.name}: its card has no configuration to simulate from, expected that of its training; "
            "give the configuration file"
        )
    return Refiner(model, Config.model_validate(model.card["config"]).simulator(), budget=budget)
