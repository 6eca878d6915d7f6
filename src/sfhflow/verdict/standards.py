"""What a verdict is measured by: a critic, limits of the scores and quantiles of the prior, from simulations.

None of it needs the trained weights of the encoder or the flow, only the principal components and the scaling of
the inputs, and it takes a few minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sfhflow.encoder import Encoder
from sfhflow.information import prior_quantiles
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.simulator import Simulation, Simulator
from sfhflow.verdict.critic import Critic, train_critic
from sfhflow.verdict.faults import FAULTS, Faults, with_flux
from sfhflow.verdict.judgement import scores, signal_to_noise
from sfhflow.verdict.limits import Limits, Scored, limits_of

__all__ = ["Standards", "set_standards"]

_CHUNK = 1024
# apart from each other in the stream of seeds
_SETS = {"critic": 0, "mismatched": 100_000, "clean": 200_000, "doubled": 300_000}


@dataclass(frozen=True)
class Standards:
    """A model's standards.

    Attributes
    ----------
    limits : Limits
        Limits of the scores.
    critic : Critic
        Gives the scores of simulated faults.
    prior : dict
        Quantiles of the prior of each quantity, see `sfhflow.information`.
    """

    limits: Limits
    critic: Critic
    prior: dict[str, list[float]]


def set_standards(encoder: Encoder, simulator: Simulator, *, n: int, seed: int) -> Standards:
    """Set the standards of a model.

    Parameters
    ----------
    encoder : Encoder
        With its principal components and the scaling of its inputs.
    simulator : Simulator
        What the model was trained on.
    n : int
        Simulations for each of the critic, the shapes and the level of the limits.
    seed : int
        Of the first batch.
    """
    low, high = simulator.mismatch.amplitude_range
    mismatched = _with_mismatch(simulator, math.sqrt(low * high), high)
    critic = _critic(encoder, [mismatched, simulator], n, seed + _SETS["critic"])
    shape = _scores(encoder, critic, mismatched, n, seed + _SETS["mismatched"])
    doubled = _with_mismatch(simulator, high, 2 * high, library=2.0)
    wider = _scores(encoder, critic, doubled, n, seed + _SETS["doubled"])
    galaxies: list[tuple[GalaxyParameters, Tensor]] = []
    level = _scores(encoder, critic, simulator, n, seed + _SETS["clean"], galaxies)
    return Standards(limits_of(wider, shape, level), critic, _prior(galaxies))


def _with_mismatch(simulator: Simulator, low: float, high: float, *, library: float = 1.0) -> Simulator:
    """Make a simulator whose templates differ from its galaxies by another amount; libraries by a factor more."""
    mismatch = simulator.mismatch
    more = replace(mismatch, amplitude_range=(low, high), library_amplitude=library * mismatch.library_amplitude)
    return replace(simulator, mismatch=more)


def _batches(simulator: Simulator, n: int, seed: int) -> Iterator[Simulation]:
    for part in range(math.ceil(n / _CHUNK)):
        yield simulator.sample(min(n, _CHUNK), seed=seed + part)


@torch.no_grad()
def _critic(encoder: Encoder, simulators: list[Simulator], n: int, seed: int) -> Critic:
    clean, faulty = [], []
    for part, simulator in enumerate(simulators):
        first = seed + part * n
        faults = Faults(simulator.grid, torch.Generator().manual_seed(first))
        for batch in _batches(simulator, n // len(simulators), first):
            clean.append(encoder.scaled(encoder.features(batch.observation)))
            flux, good = batch.noiseless, batch.observation.ivar > 0
            broken = [with_flux(batch.observation, flux, faults.draw(kind, flux, good)) for kind in FAULTS]
            faulty.append(torch.stack([encoder.scaled(encoder.features(data)) for data in broken]))
    with torch.enable_grad():
        return train_critic(torch.cat(clean), torch.cat(faulty, dim=1))


def _scores(
    encoder: Encoder,
    critic: Critic,
    simulator: Simulator,
    n: int,
    seed: int,
    galaxies: list[tuple[GalaxyParameters, Tensor]] | None = None,
) -> Scored:
    """Scores and signal-to-noise ratios of simulations, whose galaxies and ages are added to `galaxies`."""
    raw, snr = [], []
    for batch in _batches(simulator, n, seed):
        data = batch.observation
        raw.append(scores(encoder, data, grid=simulator.grid, critic=critic))
        snr.append(signal_to_noise(data))
        if galaxies is not None:
            galaxies.append((batch.galaxy, data.age_of_universe))
    # what is uninformative is so by definition, not by comparison
    return {name: torch.cat([r[name] for r in raw]) for name in raw[0] if name != "uninformative"}, torch.cat(snr)


def _prior(galaxies: list[tuple[GalaxyParameters, Tensor]]) -> dict[str, list[float]]:
    """Quantiles of galaxies simulated at ages of the Universe; times are fractions of those."""
    times = torch.cat([galaxy.times / age.double()[:, None] for galaxy, age in galaxies])
    columns = {f"t{round(100 * f)}": times[:, i] for i, f in enumerate(FRACTIONS) if 0.0 < f <= 0.9}
    for name, field in (("mh", "metallicity"), ("a_v", "a_v"), ("sigma", "sigma_kms")):
        columns[name] = torch.cat([getattr(galaxy, field) for galaxy, _ in galaxies])
    return {name: prior_quantiles(values.numpy()) for name, values in columns.items()}
