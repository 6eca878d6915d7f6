"""Mock galaxies that a model was never trained on, and what it answers, reduced batch by batch.

Three sets of galaxies are drawn from the model's prior and instrument: `main` as in training, `masked` with up
to half of the observed pixels masked in addition, one by one in every other galaxy and in gaps in the rest, and
`faint` with signal-to-noise ratios down to a twentieth, where the data say nothing.  Seeds come from the stream
"test" of the model's seed, which training never touches, so the same command meets the same galaxies.  Finished
batches are kept in a folder, and a run that was interrupted goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from sfhflow.diagnostics import Reduction, join, reduce_samples
from sfhflow.observation import Observation
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.simulator import Simulator
from sfhflow.train import stream_seed

__all__ = ["BATCH", "NAMES", "AmortizedPosterior", "Sizes", "Trial", "headline", "run_trials"]

_COLUMNS = [i for i, fraction in enumerate(FRACTIONS) if 0 < fraction <= 0.9]
NAMES = (*(f"t{round(100 * FRACTIONS[i])}" for i in _COLUMNS), "mh")
"""The ten headline quantities."""

BATCH = 512
# galaxies that are sampled with one seed: few, because a posterior may give all of them the same noise
_GROUP = 32
_N_PRIOR = 10_000
_FAINT_SNR = (0.05, 3.0)
_MAX_MASKED = 0.5
# places in the stream of seeds: first batches of the sets, draws from the prior, posterior samples, masks
_FIRST = {"main": 0, "masked": 1_000_000, "faint": 2_000_000}
_PRIOR_PLACE, _SAMPLES_PLACE, _MASKS_PLACE = 3_000_000, 10_000_000, 50_000_000


class AmortizedPosterior(Protocol):
    """What can be certified."""

    def sample(self, observation: Observation, *, n_samples: int, seed: int) -> Iterator[GalaxyParameters]:
        """Posterior samples galaxy by galaxy, each a `GalaxyParameters` of batch shape (n_samples,)."""

    def log_prob(self, u: Tensor, observation: Observation) -> Tensor:
        """Log posterior density (N,) of unbounded coordinates (N, D) given N observations."""


@dataclass(frozen=True)
class Sizes:
    """Size of a test: galaxies in each set (rounded up to whole batches of 512), and samples for each galaxy."""

    main: int = 24_576
    masked: int = 12_288
    faint: int = 1_536
    n_samples: int = 511

    @property
    def galaxies(self) -> dict[str, int]:
        """Galaxies in each set, whole batches."""
        return {name: -(-getattr(self, name) // BATCH) * BATCH for name in _FIRST}


@dataclass(frozen=True, eq=False)
class Trial:
    """Answers for one set of galaxies.

    Attributes
    ----------
    posteriors : Reduction
        Reduced posteriors of the headline quantities; times are fractions of the age of the Universe.
    log_prob : array of shape (G,)
        Log posterior density of the truth in nats, in unbounded coordinates.
    snr : array of shape (G,)
        Median signal-to-noise ratio per Angstrom (rest frame) of the observed pixels.
    masked : array of shape (G,)
        Share of the observed pixels that were masked in addition.
    in_gaps : array of bool, shape (G,)
        They were masked in gaps, not one by one.
    """

    posteriors: Reduction
    log_prob: NDArray[np.float64]
    snr: NDArray[np.float64]
    masked: NDArray[np.float64]
    in_gaps: NDArray[np.bool_]

    def rows(self, which: slice | NDArray) -> Trial:
        """Select galaxies."""
        log_prob, snr, masked = self.log_prob[which], self.snr[which], self.masked[which]
        return Trial(self.posteriors.rows(which), log_prob, snr, masked, self.in_gaps[which])


def run_trials(
    posterior: AmortizedPosterior,
    simulator: Simulator,
    *,
    sizes: Sizes,
    seed: int,
    folder: Path | None = None,
    progress: Callable[[int], Any] = lambda _: None,
) -> tuple[dict[str, Trial], NDArray[np.float64]]:
    """Simulate and infer the three sets.

    Parameters
    ----------
    posterior : AmortizedPosterior
        What is tested.
    simulator : Simulator
        Source of the galaxies: the posterior's own prior and instrument.
    sizes : Sizes
        Of the sets.
    seed : int
        Seed with which the model was trained; the streams differ.
    folder : Path, optional
        Where finished batches are kept; those found there are not made again.
    progress : callable
        Called with the number of galaxies after each batch.

    Returns
    -------
    trials : dict of str to Trial
        `main`, `masked` and `faint`.
    prior : array of shape (10000, 10)
        Headline quantities of galaxies of the prior.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, "test", _PRIOR_PLACE))
    drawn, age = simulator.prior.sample(_N_PRIOR, generator)
    prior = headline(drawn, age)
    faint = replace(simulator, noise=replace(simulator.noise, snr_range=_FAINT_SNR))
    trials = {}
    for name, first in _FIRST.items():
        parts = []
        for number in range(sizes.galaxies[name] // BATCH):
            path = folder / f"{name}-{number:05d}.safetensors" if folder else None
            part = _read(path)
            if part is None:
                source = faint if name == "faint" else simulator
                part = _answer(posterior, source, prior, seed, first + number, sizes.n_samples, name == "masked")
                _write(path, part)
            parts.append(part)
            progress(BATCH)
        trials[name] = _joined(parts)
    return trials, prior


def headline(galaxy: GalaxyParameters, age: Tensor) -> NDArray[np.float64]:
    """The ten headline quantities (..., 10): formation times over the age of the Universe, and [M/H]."""
    times = galaxy.times[..., _COLUMNS] / age[..., None]
    return torch.cat([times, galaxy.metallicity[..., None]], -1).double().numpy()


def signal_to_noise(observation: Observation, pixel_angstrom: Tensor) -> Tensor:
    """Median signal-to-noise ratio per Angstrom of the observed pixels, shape (N,)."""
    per_angstrom = observation.flux * (observation.ivar / pixel_angstrom).sqrt()
    return torch.where(observation.ivar > 0, per_angstrom, torch.nan).nanmedian(-1).values


def mask_more(observation: Observation, generator: torch.Generator) -> tuple[Observation, Tensor, Tensor]:
    """Mask up to half of the observed pixels: one by one in even rows, in one to four gaps in odd ones.

    Returns
    -------
    observation : Observation
    share : Tensor of shape (N,)
        Share of the observed pixels that were masked.
    in_gaps : Tensor of bool, shape (N,)
    """
    n, n_pixels = observation.flux.shape
    wanted = _MAX_MASKED * torch.rand(n, 1, generator=generator)
    single = torch.rand(n, n_pixels, generator=generator) < wanted
    observed = observation.ivar > 0
    # gaps are counted in observed pixels, so that none falls where nothing is observed
    place = observed.cumsum(-1) / observed.sum(-1, keepdim=True)
    gaps = torch.zeros_like(single)
    n_gaps = torch.randint(1, 5, (n, 1), generator=generator)
    for k in range(4):
        start = torch.rand(n, 1, generator=generator)
        gaps |= (((place - start) % 1.0) < wanted / n_gaps) & (k < n_gaps)
    in_gaps = torch.arange(n) % 2 == 1
    drop = torch.where(in_gaps[:, None], gaps, single) & observed
    keep = torch.where(drop, 0.0, 1.0)
    share = drop.sum(-1) / observed.sum(-1)
    return observation._replace(flux=observation.flux * keep, ivar=observation.ivar * keep), share, in_gaps


def _answer(
    posterior: AmortizedPosterior,
    simulator: Simulator,
    prior: NDArray[np.float64],
    seed: int,
    number: int,
    n_samples: int,
    more_masks: bool,  # noqa: FBT001
) -> Trial:
    """Batch `number` of a set."""
    batch = simulator.sample(BATCH, seed=stream_seed(seed, "test", number))
    observation, share, in_gaps = batch.observation, torch.zeros(BATCH), torch.zeros(BATCH, dtype=torch.bool)
    if more_masks:
        generator = torch.Generator().manual_seed(stream_seed(seed, "test", _MASKS_PLACE + number))
        observation, share, in_gaps = mask_more(observation, generator)
    truth = headline(batch.galaxy, observation.age_of_universe.double())
    samples = _samples(posterior, observation, n_samples, seed, number)
    reduced = reduce_samples(samples, truth, prior_samples=prior, seed=number)
    grid = simulator.grid
    pixel = torch.as_tensor(grid.wavelength * grid.step, dtype=torch.float32)
    log_prob = posterior.log_prob(batch.u, observation)
    snr = signal_to_noise(observation, pixel)
    return Trial(reduced, log_prob.double().numpy(), snr.double().numpy(), share.double().numpy(), in_gaps.numpy())


def _samples(
    posterior: AmortizedPosterior, observation: Observation, n_samples: int, seed: int, number: int
) -> NDArray[np.float32]:
    """Samples (N, S, 10) of the headline quantities in single precision."""
    drawn = np.empty((len(observation.flux), n_samples, len(NAMES)), dtype=np.float32)
    starts = range(0, len(drawn), _GROUP)
    row = 0
    for place, start in enumerate(starts, start=_SAMPLES_PLACE + number * len(starts)):
        part = observation.rows(slice(start, start + _GROUP))
        answers = posterior.sample(part, n_samples=n_samples, seed=stream_seed(seed, "test", place))
        for galaxy, age in zip(answers, part.age_of_universe, strict=True):
            drawn[row] = headline(galaxy, age.double().expand(n_samples))
            row += 1
    return drawn


def _columns(trial: Trial) -> dict[str, NDArray]:
    reduced = {field.name: getattr(trial.posteriors, field.name) for field in fields(Reduction)}
    others = {field.name: getattr(trial, field.name) for field in fields(Trial) if field.name != "posteriors"}
    return {**reduced, **others}


def _trial(columns: dict[str, NDArray]) -> Trial:
    reduced = Reduction(**{field.name: columns[field.name] for field in fields(Reduction)})
    others = {field.name: columns[field.name] for field in fields(Trial) if field.name != "posteriors"}
    return Trial(reduced, **others)


def _joined(parts: list[Trial]) -> Trial:
    others = [field.name for field in fields(Trial) if field.name != "posteriors"]
    return Trial(
        join([part.posteriors for part in parts]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in others},
    )


def _write(path: Path | None, trial: Trial) -> None:
    """Keep a batch, whole or not at all."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file({name: np.ascontiguousarray(values) for name, values in _columns(trial).items()}, unfinished)
    unfinished.replace(path)


def _read(path: Path | None) -> Trial | None:
    """A batch that was kept; None if there is none or it is damaged."""
    if path is None or not path.exists():
        return None
    try:
        return _trial(load_file(path))
    except (SafetensorError, KeyError, OSError):
        return None
