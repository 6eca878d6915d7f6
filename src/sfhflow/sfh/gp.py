"""Gaussian-process star formation histories (GP-SFH) as in the thesis and in `dense_basis`.

A history is described by log10 M, log10 SFR and the times, as fractions of the age of the Universe, at which
equal parts of the mass had formed.  These give knots (x_j, y_j) of the cumulative mass: the quantiles, zero
mass and zero rate at the Big Bang, and three points near x = 1 whose slope is the present SFR.  The curve
through the knots is the conditional mean of a Gaussian process,

    m(x) = k(x)^T (K + S)^-1 y,    k(x, x') = M(sqrt(3 (x - x')^2 / l)) + (x x')^2 / exp(l),
    M(r) = (1 + r) exp(-r),        l = median(y),

with variance S on the quantiles, and the SFR is its slope, clipped at zero (Iyer et al. 2019, ApJ 879, 116).
Every numerical choice of `dense_basis` 0.1.9 `tuple_to_sfh` is kept, so that the prior of the thesis
(Iglesias-Navarro et al. 2024, A&A 689, A58, section 3) is reproduced: 3 quantiles with Dirichlet(1) gaps,
log10 M uniform in 9..12 and log10 SFR uniform in -50..0.  Only SFR / M matters for a normalised history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfhflow.errors import InputError
from sfhflow.sfh.draws import Range, dirichlet, uniform
from sfhflow.sfh.history import StarFormationHistory

__all__ = ["GaussianProcessSFH", "gp_sfr"]

_START_TIME = 0.01  # no mass until here: the rate rises from zero
_CONSTRAINTS = (0.97, 0.98, 0.99)  # fractions of mass or time that pin the present rate
_QUANTILE_ERROR = 1e-3  # of the mass, divided by sqrt(number of quantiles)
_JITTER = 1.25e-12  # variance that the george package adds for numerical stability
_DECOUPLE_GYR = 0.01  # the last 10 Myr carry the given rate ...
_SFR_TOLERANCE = 0.05  # ... where the curve misses it by more than this many dex
# histories computed at once: their arrays stay in the processor's caches
_ROWS_AT_ONCE = 128
# the median knot can be zero or negative for extreme SFR / M, where dense_basis gives NaN
_MIN_METRIC = 1e-2


def gp_sfr(sfh_tuple: Tensor, age_of_universe: Tensor | float, n_times: int = 1000) -> tuple[Tensor, Tensor]:
    """Star formation rates of GP-SFH tuples, as `dense_basis.tuple_to_sfh`.

    Parameters
    ----------
    sfh_tuple : Tensor of shape (N, 3 + Q)
        log10 M [Msun], log10 SFR [Msun/yr], the number of quantiles Q, and Q rising times, as fractions of
        the age of the Universe, at which equal parts of the mass had formed.
    age_of_universe : Tensor of shape (N,) or float
        Gyr.
    n_times : int
        Number of times, evenly spaced from 0 to the age of the Universe.

    Returns
    -------
    sfr : Tensor of shape (N, n_times)
        Star formation rate in Msun/yr; entry i is the mean rate between times i - 1 and i, entry 0 is zero.
    cosmic_time : Tensor of shape (N, n_times)
        Gyr since the Big Bang.

    Raises
    ------
    InputError
        If the tuples do not hold at least one quantile.
    """
    if sfh_tuple.ndim != 2 or sfh_tuple.shape[1] < 4:
        raise InputError(
            f"GP-SFH tuples have shape {tuple(sfh_tuple.shape)}, expected (N, 3 + quantiles); give log10 M, "
            "log10 SFR, the number of quantiles and their times"
        )
    # neighbouring knots make the kernel matrix nearly singular: single precision would not do
    values = sfh_tuple.double()
    age = torch.as_tensor(age_of_universe, dtype=values.dtype, device=values.device).expand(len(values))
    grid = torch.linspace(0, 1, n_times, dtype=age.dtype, device=age.device)
    parts = zip(values.split(_ROWS_AT_ONCE), age.split(_ROWS_AT_ONCE), strict=True)
    sfr = torch.cat([_rates(*some, grid) for some in parts])
    return sfr.to(sfh_tuple.dtype), (grid * age[:, None]).to(sfh_tuple.dtype)


@dataclass(frozen=True)
class GaussianProcessSFH:
    """Family of GP-SFH histories with the authors' prior.

    Parameters
    ----------
    n_quantiles : int
        Number of time quantiles.
    alpha : float
        Dirichlet concentration of the gaps between them.
    n_times : int
        Number of times at which the curve is evaluated.
    log_mass_range, log_sfr_range : (float, float)
        Ranges of the uniform log10 M [Msun] and log10 SFR [Msun/yr].
    """

    n_quantiles: int = 3
    alpha: float = 1.0
    n_times: int = 1000
    log_mass_range: Range = (9.0, 12.0)
    log_sfr_range: Range = (-50.0, 0.0)

    def sample_tuples(self, age_of_universe: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw the tuples of `gp_sfr`, shape (N, 3 + n_quantiles)."""
        gaps = dirichlet(self.alpha, self.n_quantiles + 1, like=age_of_universe, generator=generator)
        times = gaps.cumsum(-1)[:, :-1]
        log_mass = uniform(*self.log_mass_range, like=age_of_universe, generator=generator)
        log_sfr = uniform(*self.log_sfr_range, like=age_of_universe, generator=generator)
        count = torch.full_like(log_mass, self.n_quantiles)
        return torch.cat([torch.stack([log_mass, log_sfr, count], -1), times], -1)

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,).

        `gp_sfr` differences the cumulative curve, so its entry i is the mean rate between times i - 1 and i.
        The times are therefore the bin edges and the mass of a bin is its own entry, without the half-bin
        delay that taking the rates as samples at the times would bring.
        """
        tuples = self.sample_tuples(age_of_universe, generator)
        sfr, time = gp_sfr(tuples, age_of_universe, self.n_times)
        return StarFormationHistory(time, sfr[:, 1:] / sfr[:, 1:].sum(-1, keepdim=True))


def _rates(values: Tensor, age: Tensor, grid: Tensor) -> Tensor:
    """Rates of `gp_sfr`, shape (N, n_times)."""
    mass, rate = 10 ** values[:, 0], 10 ** values[:, 1]
    time, fraction = _knots(values[:, 3:], rate / mass * age * 1e9)
    curve = _conditional_mean(time, fraction, values.shape[1] - 3, grid)
    sfr = torch.zeros_like(curve)
    torch.clamp(curve.diff(dim=-1) * (mass / (age * 1e9 / len(grid)))[:, None], min=0, out=sfr[:, 1:])
    return _pin_present_rate(sfr, mass, rate, age)


def _knots(quantile_times: Tensor, growth: Tensor) -> tuple[Tensor, Tensor]:
    """Return times and mass fractions of the knots, each (N, Q + 6); `growth` is SFR age / M, shape (N,)."""
    n, n_quantiles = quantile_times.shape
    fractions = torch.linspace(0, 1, n_quantiles + 2).to(quantile_times)[1:-1]
    zero, one = torch.zeros_like(growth), torch.ones_like(growth)
    time = [zero, torch.full_like(zero, _START_TIME), *quantile_times.unbind(-1)]
    mass = [zero, zero, *fractions.expand(n, -1).unbind(-1)]
    for value in _CONSTRAINTS:
        # when the last (1 - value) of the mass forms at the present rate, if that is recent enough; otherwise
        # how much has formed by that fraction of the time
        reached = 1 - (1 - value) / growth
        recent = (reached > time[-1]) & (reached > 0.9)
        mass.append(torch.where(recent, value, 1 - growth * (1 - value)))
        time.append(torch.where(recent, reached, value))
    return torch.stack([*time, one], -1), torch.stack([*mass, one], -1)


def _conditional_mean(time: Tensor, mass: Tensor, n_quantiles: int, grid: Tensor) -> Tensor:
    """Curve through the knots at the times of `grid`, shape (N, len(grid))."""
    ordered = mass.sort(-1).values
    n = mass.shape[-1]
    metric = 0.5 * (ordered[:, (n - 1) // 2] + ordered[:, n // 2])
    slope = (3 / metric.clamp(min=_MIN_METRIC)).sqrt()
    variance = mass.var(-1, correction=0)
    noise = torch.full_like(time, _JITTER)
    # dense_basis switches to a loose fit for more than 26 knots
    error = (_QUANTILE_ERROR if n <= 26 else 0.1) / math.sqrt(n_quantiles)
    noise[:, 2 : 2 + n_quantiles] += error**2
    scaled = slope[:, None, None] * (time[:, :, None] - time[:, None, :]).abs()
    product = (time[:, :, None] * time[:, None, :]) ** 2 * (-metric).exp()[:, None, None]
    kernel = (1 + scaled) * (-scaled).exp() + product
    # dividing by the variance of y keeps the matrix of order one
    kernel = kernel + torch.diag_embed(noise / variance[:, None])
    weights = torch.linalg.solve(kernel, mass)
    square = (weights * time**2).sum(-1) * (-metric).exp()
    return _matern_sum(slope, time, weights, grid).addcmul_(square[:, None], grid**2)


def _matern_sum(slope: Tensor, time: Tensor, weights: Tensor, grid: Tensor) -> Tensor:
    """Sum over knots of weight (1 + r) exp(-r), r = slope |grid - time|, shape (N, len(grid)).

    Between two neighbouring knots the sum is (a + b x) exp(-s x) + (c + d x) exp(s x), whose coefficients are
    sums over the knots to the left and to the right; so the exponentials are taken once, not once for each
    knot.
    """
    order = time.argsort(-1)
    scaled, weights = slope[:, None] * time.gather(-1, order), weights.gather(-1, order)
    zero = torch.zeros_like(slope)[:, None]
    grow, decay = weights * scaled.exp(), weights * (-scaled).exp()

    def left(terms: Tensor) -> Tensor:
        return torch.cat([zero, terms.cumsum(-1)], -1)

    def right(terms: Tensor) -> Tensor:
        return torch.cat([terms.flip(-1).cumsum(-1).flip(-1), zero], -1)

    segment = torch.searchsorted(time.gather(-1, order), grid.expand(len(time), -1).contiguous())
    x = slope[:, None] * grid
    past = left(grow * (1 - scaled)).gather(-1, segment).addcmul_(left(grow).gather(-1, segment), x)
    future = right(decay * (1 + scaled)).gather(-1, segment)
    future = future.addcmul_(right(decay).gather(-1, segment), x, value=-1)
    rise = x.exp()
    return past.div_(rise).add_(future.mul_(rise))


def _pin_present_rate(sfr: Tensor, mass: Tensor, rate: Tensor, age: Tensor) -> Tensor:
    """Rescale the past to the mass and give the last time(s) the present rate, as dense_basis does."""
    n_times = sfr.shape[-1]
    step = age / (n_times - 1)
    # the time nearest to 10 Myr, counted in steps; dense_basis takes 2 where that is none
    n_last = (_DECOUPLE_GYR / step - 0.5).ceil().clamp(min=0, max=n_times - 1)
    n_last = torch.where(n_last == 0, 2, n_last)[:, None]
    position = torch.arange(n_times, device=sfr.device)
    is_last = position >= n_times - n_last
    total, last = sfr.sum(-1), torch.where(is_last, sfr, 0).sum(-1)
    first_of_last = sfr.gather(-1, (n_times - n_last).long())[:, 0]
    last_before = sfr.gather(-1, (n_times - n_last - 1).long())[:, 0]
    width = step * 1e9
    # trapezium rule over each part on its own, without the interval between them
    mass_last = width * (last - 0.5 * (first_of_last + sfr[:, -1]))
    mass_past = width * (total - last - 0.5 * last_before)
    scale = torch.where(mass_past > 0, (mass - mass_last).clamp(min=0) / mass_past, 0)
    misses = ((sfr[:, -1:].log10() - rate[:, None].log10()).abs() > _SFR_TOLERANCE) & is_last
    return torch.where(misses, rate[:, None], torch.where(is_last, sfr, sfr * scale[:, None]))
