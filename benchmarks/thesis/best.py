r"""The best that any method can do: posteriors from the true likelihood of noisy spectra.

The galaxies of the benchmark have five parameters: three time quantiles, the present rate for each mass, and
[M/H].  Each is the image of a standard normal number under its inverse cumulative prior, so that the prior is
:math:`N(0, I_5)`, and with white noise of standard deviation :math:`\sigma` the posterior is

.. math:: p(z \mid x) \propto \exp\left(-\frac{|z|^2}{2} - \frac{|m(z) - x|^2}{2 \sigma^2}\right)

with the forward model m of the benchmark itself.  It is sampled by population Monte Carlo (Cappe et al. 2004, J.
Comput. Graph. Stat. 13, 907): particles are drawn around the good ones of the round before, from a mixture of
Student distributions as wide as the Fisher information there says, and weighted by posterior over mixture; the
likelihood is tempered until enough particles matter.  The first round is chosen among simulated galaxies.  Many spectra are treated at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.thesis.dataset import Dataset, normalised, weights_and_times
from benchmarks.thesis.library import Library

__all__ = ["Forward", "Particles", "effective", "first_round", "sample", "weighted_median"]

# log SFR - log M when both are uniform, in -50..0 and 9..12
_LOG_SFR, _LOG_MASS = (-50.0, 0.0), (9.0, 12.0)
_DEGREES = 5.0
_CENTRES = 32
# of the differences that give the slopes of spectra: rounding errors must not look like information
_STEP = 0.03
_EDGE = 1e-9
_ROWS = 4096


@dataclass(frozen=True)
class Particles:
    """Weighted particles of S spectra.

    Attributes
    ----------
    z : Tensor of shape (S, P, 5)
        Parameters.
    log_likelihood : Tensor of shape (S, P)
    log_weight : Tensor of shape (S, P)
        Prior over proposal.
    quantities : Tensor of shape (S, P, 10)
        Formation times in Gyr and [M/H].
    """

    z: Tensor
    log_likelihood: Tensor
    log_weight: Tensor
    quantities: Tensor

    def weights(self, temperature: Tensor) -> Tensor:
        """Normalised weights (S, P) with the likelihood to the power of 1 / temperature (S,)."""
        return (self.log_weight + self.log_likelihood / temperature[:, None]).softmax(1)


@dataclass(frozen=True, eq=False)
class Forward:
    """Quantities and noise-free spectra as functions of the five parameters."""

    data: Dataset
    library: Library

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (N, R), float32, and quantities (N, 10) of parameters (N, 5)."""
        tuples, metallicity = self.tuples(z.double())
        weights, times = weights_and_times(tuples, self.library)
        coefficients = normalised(self.data.view, weights, metallicity)
        return coefficients, torch.cat([times, metallicity[:, None]], 1)

    def tuples(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """GP-SFH tuples (N, 6) and [M/H] (N,) of parameters (N, 5)."""
        unit = torch.special.ndtr(z).clamp(_EDGE, 1 - _EDGE)
        # sticks broken off one after the other: the gaps are uniform on the simplex
        stick = 1 - (1 - unit[:, :3]) ** (1 / torch.tensor([3.0, 2.0, 1.0], dtype=z.dtype))
        times = 1 - (1 - stick).cumprod(1)
        ssfr = _ssfr(unit[:, 3])
        mass = torch.full_like(ssfr, 10.0)
        low, high = self.data.view.metallicities[[0, -1]].tolist()
        parts = [mass, ssfr + mass, torch.full_like(mass, 3.0), *times.unbind(1)]
        return torch.stack(parts, 1), low + (high - low) * unit[:, 4]

    def parameters(self, tuples: Tensor, metallicity: Tensor) -> Tensor:
        """Inverse of `tuples`."""
        times = tuples[:, 3:]
        before = torch.cat([torch.zeros_like(times[:, :1]), times[:, :-1]], 1)
        stick = (times - before) / (1 - before)
        unit = 1 - (1 - stick) ** torch.tensor([3.0, 2.0, 1.0], dtype=tuples.dtype)
        low, high = self.data.view.metallicities[[0, -1]].tolist()
        rest = [_ssfr_below(tuples[:, 1] - tuples[:, 0]), (metallicity - low) / (high - low)]
        return torch.special.ndtri(torch.cat([unit, torch.stack(rest, 1)], 1).clamp(_EDGE, 1 - _EDGE))


def _ssfr_below(x: Tensor) -> Tensor:
    """Prior probability of log SFR - log M below x: the integral of a trapezium."""
    low, width, narrow = _LOG_SFR[0] - _LOG_MASS[1], _LOG_SFR[1] - _LOG_SFR[0], _LOG_MASS[1] - _LOG_MASS[0]
    place = (x - low).clamp(0, width + narrow)
    ramp = place.clamp(max=narrow) ** 2 / 2 + narrow * (place - narrow).clamp(0, width - narrow)
    last = (place - width).clamp(min=0)
    return (ramp + narrow * last - last**2 / 2) / (width * narrow)


def _ssfr(unit: Tensor) -> Tensor:
    """Inverse of `_ssfr_below`."""
    low, width, narrow = _LOG_SFR[0] - _LOG_MASS[1], _LOG_SFR[1] - _LOG_SFR[0], _LOG_MASS[1] - _LOG_MASS[0]
    area = unit * width * narrow
    first = (2 * area).sqrt()
    middle = narrow / 2 + area / narrow
    last = width + narrow - (2 * (width * narrow - area)).clamp(min=0).sqrt()
    return low + torch.where(first < narrow, first, torch.where(middle < width, middle, last))


def first_round(forward: Forward, observed: Tensor, noise: float, rows: slice, n: int) -> Particles:
    """The `n` simulated galaxies of `rows` nearest to each observed spectrum (S, R), as particles from the prior."""
    data = forward.data
    known = data.histories
    z = forward.parameters(known.tuples[rows], known.metallicity[rows])
    quantities = torch.cat([known.times[rows], known.metallicity[rows, None]], 1)
    bank = data.coefficients[rows]
    chosen, likelihoods = [], []
    for some in observed.split(64):
        distance = torch.cdist(some, bank, compute_mode="donot_use_mm_for_euclid_dist").double()
        near, index = distance.topk(n, dim=1, largest=False)
        chosen.append(index)
        likelihoods.append(-0.5 * (near / noise) ** 2)
    index, likelihood = torch.cat(chosen), torch.cat(likelihoods)
    return Particles(z[index], likelihood, torch.zeros_like(likelihood), quantities[index])


def sample(
    forward: Forward,
    observed: Tensor,
    noise: float,
    start: Particles,
    generator: torch.Generator,
    *,
    rounds: int = 10,
    kept: int = 4,
    n: int = 256,
) -> Particles:
    """Particles of the posteriors of observed spectra, all those of the last `kept` rounds.

    Parameters
    ----------
    forward : Forward
        The forward model.
    observed : Tensor of shape (S, R)
        Coefficients of noisy spectra.
    noise : float
        Standard deviation of the noise a pixel.
    start : Particles
        From which the first round is drawn.
    rounds, kept, n : int
        Rounds, those whose particles are returned, and particles of each.
    """
    scaled = start
    history: list[Particles] = []
    for _ in range(rounds):
        now = _round(forward, observed, noise, scaled, generator, n)
        history.append(now)
        # the particles of the last rounds together are the better mixture to draw from
        scaled = _joined(history[-2:])
    return _joined(history[-kept:])


def _round(
    forward: Forward, observed: Tensor, noise: float, last: Particles, generator: torch.Generator, n: int
) -> Particles:
    """Draw `n` particles around some of the `last` ones, chosen by weight."""
    temperature = _temperature(last, _CENTRES)
    index = torch.multinomial(last.weights(temperature), _CENTRES, replacement=True, generator=generator)
    centres = last.z.gather(1, index[..., None].expand(-1, -1, last.z.shape[-1]))
    precision = _precision(forward, centres, noise) / temperature[:, None, None, None]
    # the prior is a standard normal distribution
    precision += torch.eye(centres.shape[-1], dtype=precision.dtype)
    # precision = L L^T; inverse(L)^T turns standard normal numbers into the kernel's
    whiten = torch.linalg.cholesky(precision)
    shape = (len(centres), _CENTRES, n // _CENTRES, centres.shape[-1])
    normal = torch.randn(shape, generator=generator, dtype=centres.dtype)
    half = torch.full(shape[:3], _DEGREES / 2, dtype=centres.dtype)
    stretch = (_DEGREES / (2 * torch._standard_gamma(half, generator=generator))).sqrt()
    apart = torch.linalg.solve_triangular(whiten.mT, normal.mT, upper=True).mT
    z = (centres[:, :, None] + apart * stretch[..., None]).flatten(1, 2)
    coefficients, quantities = _by_parts(forward, z)
    likelihood = -0.5 * ((coefficients - observed[:, None]).double() / noise).square().sum(-1)
    prior = -0.5 * z.square().sum(-1)
    return Particles(z, likelihood, prior - _mixture_density(z, centres, whiten), quantities)


def _precision(forward: Forward, centres: Tensor, noise: float) -> Tensor:
    """Fisher information (S, K, 5, 5) of spectra at the centres (S, K, 5), by finite differences."""
    n = centres.shape[-1]
    # towards the prior's centre, where nothing is at the end of its range
    step = -_STEP * torch.where(centres >= 0, 1.0, -1.0)
    moved = centres[:, :, None] + torch.diag_embed(step)
    every = torch.cat([centres[:, :, None], moved], 2).flatten(1, 2)
    spectra = _by_parts(forward, every)[0].unflatten(1, (centres.shape[1], n + 1)).double()
    jacobian = (spectra[:, :, 1:] - spectra[:, :, :1]) / (step[..., None] * noise)
    return jacobian @ jacobian.mT


def _by_parts(forward: Forward, z: Tensor) -> tuple[Tensor, Tensor]:
    parts = [forward(some) for some in z.flatten(0, 1).split(_ROWS)]
    coefficients, quantities = (torch.cat(some).unflatten(0, z.shape[:2]) for some in zip(*parts, strict=True))
    return coefficients, quantities


def _mixture_density(z: Tensor, centres: Tensor, whiten: Tensor) -> Tensor:
    """Log density (S, P) at z (S, P, D) of an equal mixture of Student distributions, up to a constant.

    The distribution around a centre c (S, K, D) has the precision L L^T, with L = `whiten` (S, K, D, D).
    """
    white = torch.einsum("skpd,skde->skpe", z[:, None] - centres[:, :, None], whiten)
    logs = -0.5 * (_DEGREES + z.shape[-1]) * torch.log1p(white.square().sum(-1) / _DEGREES)
    logs += whiten.diagonal(dim1=-2, dim2=-1).log().sum(-1)[..., None]
    return logs.logsumexp(1) - math.log(centres.shape[1])


def _temperature(particles: Particles, wanted: float) -> Tensor:
    """Smallest temperature (S,), at least one, at which `wanted` particles of each spectrum matter, or the best.

    Too hot is as bad as too cold: the target is then wider than what the particles were drawn from.
    """
    steps = torch.linspace(0, 12, 49, dtype=torch.float64).exp()
    ones = torch.ones(len(particles.z), dtype=torch.float64)
    found = torch.stack([effective(particles.weights(step * ones)) for step in steps])
    enough = found >= torch.minimum(found.amax(0), torch.tensor(wanted, dtype=torch.float64))
    return steps[enough.int().argmax(0)]


def effective(weights: Tensor) -> Tensor:
    """Effective number (S,) of particles with normalised weights (S, P)."""
    return 1 / weights.square().sum(1)


def _joined(rounds: list[Particles]) -> Particles:
    """Particles of several rounds; each round counts by its effective number."""
    parts = []
    one = torch.ones(len(rounds[0].z), dtype=torch.float64)
    for some in rounds:
        log = some.log_weight + some.log_likelihood
        # rounds have their own normalisation: the mean weight is the evidence
        share = effective(some.weights(one)).log() - log.logsumexp(1)
        parts.append(Particles(some.z, some.log_likelihood, some.log_weight + share[:, None], some.quantities))
    names = ("z", "log_likelihood", "log_weight", "quantities")
    return Particles(*(torch.cat([getattr(part, name) for part in parts], 1) for name in names))


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Medians (S, D) of values (S, P, D) with weights (S, P)."""
    ordered, order = values.sort(1)
    below = weights[..., None].expand_as(values).gather(1, order).cumsum(1)
    index = (below < 0.5 * below[:, -1:]).sum(1, keepdim=True).clamp(max=values.shape[1] - 1)
    return ordered.gather(1, index)[:, 0]
