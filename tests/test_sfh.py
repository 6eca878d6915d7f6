"""Histories, their formation times, parametric families, events and mixtures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfhflow.errors import InputError
from sfhflow.sfh import (
    FRACTIONS,
    DelayedTau,
    DoublePowerLaw,
    LogNormal,
    MixtureSFH,
    QuantileSFH,
    StarFormationHistory,
    TopHat,
    WithBurst,
    WithQuench,
    add_burst,
    cumulative_mass,
    default_mixture,
    effective_formation_times,
    formation_times,
    history_from_times,
    quench,
    rebin,
    sample_times,
    star_formation_rate,
    thesis_family,
)
from sfhflow.sfh.history import stretched_ages
from sfhflow.sfh.mixture import MIN_GAP
from sfhflow.sfh.parametric import delayed_tau, double_power_law, log_normal, standard_edges, top_hat

AGE = 13.0
FAMILIES = [
    TopHat(),
    DelayedTau(),
    LogNormal(),
    DoublePowerLaw(),
    QuantileSFH(),
    QuantileSFH(alpha=0.1),
    WithQuench(DelayedTau()),
    WithBurst(DelayedTau()),
    WithBurst(LogNormal(), quench_timescale_gyr=(0.01, 0.1)),
    thesis_family(),
]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def history(edges, mass):
    return StarFormationHistory(tensor(*edges), tensor(*mass))


@st.composite
def histories(draw, *, instantaneous=True):
    """Up to 4 histories with empty bins, masses over many decades and, if wanted, bins of zero width."""
    n, n_bins = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    width = st.floats(1e-3, 3.0)
    width = st.one_of(st.just(0.0), width) if instantaneous else width
    amount = st.one_of(st.just(0.0), st.floats(-12, 0).map(lambda power: 10**power))
    widths = [draw(st.lists(width, min_size=n_bins, max_size=n_bins)) for _ in range(n)]
    masses = [draw(st.lists(amount, min_size=n_bins, max_size=n_bins)) for _ in range(n)]
    for row in masses:
        row[draw(st.integers(0, n_bins - 1))] = 1.0
    start = torch.full((n, 1), draw(st.floats(0, 2)), dtype=torch.float64)
    mass = tensor(*masses)
    edges = torch.cat([start, start + tensor(*widths).cumsum(-1)], -1)
    return StarFormationHistory(edges, mass / mass.sum(-1, keepdim=True))


def slow_formation_time(edges, mass, fraction):
    """Walk through the bins until the fraction has formed."""
    target, formed, end = fraction * mass.sum(), 0.0, edges[0]
    for low, high, amount in zip(edges[:-1], edges[1:], mass, strict=True):
        if amount > 0:
            if formed + amount >= target * (1 - 1e-12):
                return low + min(max((target - formed) / amount, 0), 1) * (high - low)
            formed, end = formed + amount, high
    return end


# --- histories -------------------------------------------------------------------------------------------


def test_a_constant_rate_forms_any_fraction_after_that_fraction_of_the_time():
    constant = StarFormationHistory(
        torch.linspace(0, AGE, 101).double()[None], torch.full((1, 100), 0.01).double()
    )
    fractions = np.linspace(0, 1, 37)
    np.testing.assert_allclose(formation_times(constant, fractions)[0], AGE * fractions, rtol=1e-6, atol=1e-9)


def test_a_single_burst_forms_everything_within_its_bin():
    burst = history([[0.0, 5.0, 5.5, 13.0]], [[0.0, 1.0, 0.0]])
    assert formation_times(burst, (0, 0.5, 1))[0].tolist() == pytest.approx([5.0, 5.25, 5.5])


def test_an_instantaneous_burst_has_one_formation_time():
    burst = history([[0.0, 5.0, 5.0, 13.0]], [[0.0, 1.0, 0.0]])
    assert formation_times(burst, (0, 0.3, 1))[0].tolist() == [5.0, 5.0, 5.0]
    assert cumulative_mass(burst, tensor(4.999, 5.0, 13.0))[0].tolist() == [0, 1, 1]


@given(histories(), st.lists(st.floats(0, 0.999), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_batched_formation_times_equal_a_walk_through_the_bins(h, fractions):
    times = formation_times(h, fractions)
    walked = [
        [slow_formation_time(edges, mass, f) for f in fractions]
        for edges, mass in zip(h.time_edges.numpy(), h.mass.numpy(), strict=True)
    ]
    # where nothing forms, rounding decides on which side of a pause the time falls: then compare the mass
    same_time = np.isclose(times, walked, atol=1e-6)
    same_mass = np.isclose(cumulative_mass(h, times), cumulative_mass(h, tensor(*walked)), atol=1e-9)
    assert np.all(same_time | same_mass)


@given(histories())
@settings(max_examples=60, deadline=None)
def test_formation_times_are_ordered_and_within_the_span_of_star_formation(h):
    for times in (formation_times(h, FRACTIONS), effective_formation_times(h, FRACTIONS)):
        assert (times.diff(dim=-1) >= -1e-12).all()
        assert (times >= h.time_edges[:, :1]).all()
        assert (times <= h.time_edges[:, -1:]).all()


@given(histories(instantaneous=False), st.floats(0.001, 0.999))
@settings(max_examples=60, deadline=None)
def test_the_mass_formed_by_a_formation_time_is_its_fraction(h, fraction):
    formed = cumulative_mass(h, formation_times(h, (fraction,)))
    np.testing.assert_allclose(formed, fraction, atol=1e-9)


@pytest.mark.parametrize("times_of", [formation_times, effective_formation_times])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 20.0])
def test_formation_times_exactly_invert_the_quantile_history(times_of, alpha):
    h = QuantileSFH(alpha=alpha).sample(torch.full((200,), AGE, dtype=torch.float64), seeded())
    np.testing.assert_allclose(times_of(h, FRACTIONS), h.time_edges, atol=1e-9)


def test_effective_ends_keep_the_mean_age_of_the_last_stars():
    edges = torch.linspace(0, AGE, 5001, dtype=torch.float64)[None]
    tau = 0.5
    h = delayed_tau(edges, tensor(0.0), tensor(tau))
    short = history_from_times(effective_formation_times(h, FRACTIONS))
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    late = middle > short.time_edges[:, -2:-1]
    true_mean = (h.mass * middle)[late].sum() / h.mass[late].sum()
    assert short.time_edges[0, -2:].mean().item() == pytest.approx(true_mean.item(), abs=0.005)
    # taken literally, 100 % would keep a galaxy alive that has been dead for 10 Gyr
    assert short.time_edges[0, -1] < 12 * tau


def test_the_rate_times_the_width_of_a_bin_is_its_mass():
    h = DelayedTau().sample(torch.full((5,), AGE, dtype=torch.float64), seeded())
    np.testing.assert_allclose(star_formation_rate(h) * h.time_edges.diff(dim=-1), h.mass, atol=1e-15)
    empty = history([[0.0, 1.0, 1.0, 2.0]], [[0.5, 0.0, 0.5]])
    assert star_formation_rate(empty)[0].tolist() == [0.5, 0.0, 0.5]


@given(histories())
@settings(max_examples=40, deadline=None)
def test_rebinning_conserves_mass_and_formation_by_every_new_edge(h):
    end = float(h.time_edges[:, -1].max())
    edges = torch.linspace(float(h.time_edges[0, 0]), max(end, 2.5), 17, dtype=torch.float64)
    new = rebin(h, edges)
    np.testing.assert_allclose(new.mass.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(new.mass.cumsum(-1)[:, :-1], cumulative_mass(h, edges[1:-1]), atol=1e-9)


def test_stretched_histories_have_the_same_stars_at_other_ages():
    edges = torch.tensor([[1.0, 4.0, 9.0, 13.0]], dtype=torch.float64)
    history = StarFormationHistory(edges, torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64))
    age, factor = torch.tensor([13.0], dtype=torch.float64), torch.tensor([1.2], dtype=torch.float64)
    found = stretched_ages(history, age, factor, oldest_gyr=14.0)
    # ages 12, 9, 4 and 0 Gyr
    torch.testing.assert_close(
        13.0 - found.time_edges, torch.tensor([[14.0, 10.8, 4.8, 0.0]], dtype=torch.float64)
    )
    torch.testing.assert_close(found.mass, history.mass)


def test_rebinning_to_bins_that_miss_stars_is_refused():
    with pytest.raises(InputError, match="widen the edges"):
        rebin(history([[0.0, 5.0, 13.0]], [[0.5, 0.5]]), tensor(0.0, 6.0, 10.0))


def test_bad_fractions_are_refused():
    h = history([[0.0, 1.0]], [[1.0]])
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        formation_times(h, (0.5, 1.5))
    with pytest.raises(InputError, match="rising numbers from 0 to 1"):
        history_from_times(tensor([1.0, 2.0]), (0.1, 1.0))
    with pytest.raises(InputError, match="one time for each mass fraction"):
        history_from_times(tensor([1.0, 2.0]), FRACTIONS)


# --- parametric families ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampled", "rate"),
    [
        (
            lambda edges: delayed_tau(edges, tensor(1.5), tensor(2.0)),
            lambda t: np.where(t > 1.5, (t - 1.5) * np.exp(-(t - 1.5) / 2.0), 0),
        ),
        (
            lambda edges: delayed_tau(edges, tensor(0.0), tensor(1e4)),
            lambda t: t * np.exp(-t / 1e4),
        ),
        (
            lambda edges: log_normal(edges, tensor(6.0), tensor(0.4)),
            lambda t: np.exp(-0.5 * (np.log(t / 6.0) / 0.4) ** 2) / t,
        ),
        (
            lambda edges: double_power_law(edges, tensor(5.0), tensor(7.0), tensor(2.0)),
            lambda t: 1 / ((t / 5.0) ** 7 + (t / 5.0) ** -2),
        ),
    ],
    ids=["delayed tau", "linear rise", "log-normal", "double power law"],
)
def test_the_mass_of_a_bin_is_the_integral_of_its_rate(sampled, rate):
    edges = standard_edges(tensor(AGE))
    mass = sampled(edges).mass[0].numpy()
    steps = (np.arange(400) + 0.5) / 400
    low, high = edges[0, :-1, None].numpy(), edges[0, 1:, None].numpy()
    integral = (rate(low + steps * (high - low)) * (high - low) / 400).sum(1)
    np.testing.assert_allclose(mass, integral / integral.sum(), atol=1e-7)


def test_a_rising_log_normal_whose_peak_lies_far_in_the_future_stays_finite():
    h = log_normal(standard_edges(tensor(AGE)), tensor(1e4), tensor(0.1))
    assert torch.isfinite(h.mass).all()
    assert formation_times(h, (0.5,)).item() > 0.99 * AGE


def test_a_top_hat_is_exact_however_short():
    h = top_hat(tensor(5.0), tensor(5.001))
    assert formation_times(h, (0.0, 0.5, 1.0))[0].tolist() == pytest.approx([5.0, 5.0005, 5.001])


def test_the_standard_grid_resolves_10_myr_in_the_last_100():
    edges = standard_edges(tensor(3.0, AGE))
    assert (edges[:, 0] == 0).all()
    assert edges[:, -1].tolist() == [3.0, AGE]
    width, lookback = edges.diff(dim=-1), edges[:, -1:] - edges[:, 1:]
    assert (width >= 0).all()
    assert width[lookback < 0.1].max() < 0.01


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_every_family_gives_normalised_histories_within_the_age_of_the_universe(family):
    ages = torch.linspace(0.8, 13.8, 200, dtype=torch.float64)
    h = family.sample(ages, seeded())
    assert (h.mass >= 0).all()
    np.testing.assert_allclose(h.mass.sum(-1), 1, rtol=1e-9)
    assert (h.time_edges.diff(dim=-1) >= 0).all()
    assert (h.time_edges >= 0).all()
    assert (h.time_edges <= ages[:, None] * (1 + 1e-12)).all()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_the_same_seed_gives_the_same_histories_and_another_seed_others(family):
    ages = torch.full((20,), AGE, dtype=torch.float64)
    one, same, other = (family.sample(ages, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one.mass, same.mass)
    assert torch.equal(one.time_edges, same.time_edges)
    assert not torch.equal(formation_times(one, FRACTIONS), formation_times(other, FRACTIONS))


def test_single_precision_families_stay_single():
    h = DelayedTau().sample(torch.full((20,), AGE), seeded())
    assert h.mass.dtype == h.time_edges.dtype == torch.float32


# --- events ----------------------------------------------------------------------------------------------


@given(st.floats(0.0, 12.9), st.floats(0.0, 3.0), st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_a_burst_forms_its_fraction_in_its_time_and_scales_the_rest(time, duration, fraction):
    base = delayed_tau(standard_edges(tensor(AGE)), tensor(0.5), tensor(3.0))
    new = add_burst(base, tensor(time), tensor(duration), tensor(fraction))
    np.testing.assert_allclose(new.mass.sum(-1), 1, rtol=1e-9)
    end = min(time + duration, AGE)
    before = cumulative_mass(base, tensor(time - 1e-9, end))[0]
    after = cumulative_mass(new, tensor(time - 1e-9, end))[0]
    expected = (1 - fraction) * before + tensor(0.0, fraction)
    np.testing.assert_allclose(after, expected, atol=1e-6)


def test_the_rate_within_a_burst_is_constant():
    base = history([[0.0, 4.0, 13.0]], [[1.0, 0.0]])
    new = add_burst(base, tensor(6.0), tensor(2.0), tensor(0.5))
    assert formation_times(new, (0.5, 0.625, 0.75, 1.0))[0].tolist() == pytest.approx([4.0, 6.5, 7.0, 8.0])


def test_quenching_a_constant_rate_gives_the_closed_form():
    edges = torch.linspace(0, AGE, 131, dtype=torch.float64)[None]
    constant = StarFormationHistory(edges, torch.full((1, 130), 1 / 130, dtype=torch.float64))
    time, tau = 7.03, 0.8
    new = quench(constant, tensor(time), tensor(tau))

    def cumulative(t):
        return min(t, time) + tau * (1 - np.exp(-max(t - time, 0) / tau))

    expected = np.array([cumulative(t) for t in edges[0].numpy()]) / cumulative(AGE)
    np.testing.assert_allclose(cumulative_mass(new, edges), expected[None], atol=1e-12)


@given(histories(), st.floats(-1, 40), st.floats(1e-4, 1e3))
@settings(max_examples=60, deadline=None)
def test_quenching_conserves_mass_and_never_delays_star_formation(h, time, tau):
    n = len(h.mass)
    new = quench(h, tensor(*[time] * n), tensor(*[tau] * n))
    np.testing.assert_allclose(new.mass.sum(-1), 1, rtol=1e-9)
    assert (new.mass.cumsum(-1) >= h.mass.cumsum(-1) - 1e-9).all()


def test_quenching_after_the_end_changes_nothing():
    base = delayed_tau(standard_edges(tensor(AGE)), tensor(0.5), tensor(3.0))
    np.testing.assert_allclose(quench(base, tensor(AGE), tensor(0.1)).mass, base.mass, atol=1e-15)


# --- mixtures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, default_mixture()], ids=lambda f: type(f).__name__)
def test_sampled_times_rise_by_the_minimum_gap_within_the_age_of_the_universe(family):
    ages = torch.linspace(0.8, 13.8, 500, dtype=torch.float64)
    times = sample_times(family, ages, FRACTIONS, seeded())
    padded = torch.cat([torch.zeros(500, 1), times, ages[:, None]], -1)
    assert (padded.diff(dim=-1) / ages[:, None]).min() >= MIN_GAP * (1 - 1e-9)


def test_the_minimum_gap_hardly_moves_any_time():
    ages = torch.full((300,), AGE, dtype=torch.float64)
    exact = effective_formation_times(DelayedTau().sample(ages, seeded()), FRACTIONS)
    moved = sample_times(DelayedTau(), ages, torch.tensor(FRACTIONS), seeded())
    assert (moved - exact).abs().max() <= 0.0014 * AGE


def test_a_mixture_draws_its_components_by_weight():
    early, late = QuantileSFH((0.0, 0.5, 1.0)), TopHat((0.001, 0.001), (0.001, 0.001))
    mixture = MixtureSFH(((3.0, early), (1.0, late), (0.0, DelayedTau())))
    ages = torch.full((4000,), AGE, dtype=torch.float64)
    times = sample_times(mixture, ages, (0.0, 0.5, 1.0), seeded())
    share_late = (times[:, 0] > 0.99 * AGE).double().mean().item()
    assert share_late == pytest.approx(0.25, abs=0.03)


def test_impossible_mixtures_are_refused():
    for components in ((), ((-1.0, TopHat()), (2.0, TopHat())), ((0.0, TopHat()),)):
        with pytest.raises(InputError, match="mixture weights"):
            MixtureSFH(components)


def test_the_default_mixture_covers_median_ages_evenly():
    ages = torch.full((12_000,), AGE, dtype=torch.float64)
    t50 = sample_times(default_mixture(), ages, FRACTIONS, seeded())[:, 5] / AGE
    edges = np.array([0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98])
    density = np.histogram(t50.numpy(), edges)[0] / np.diff(edges)
    assert density.max() / density.min() < 3
    assert 0 < (t50 < 0.03).double().mean() < 0.05
    assert 0.005 < (t50 > 0.98).double().mean() < 0.1


def test_the_default_mixture_covers_dead_quiet_and_bursting_galaxies():
    ages = torch.full((12_000,), AGE, dtype=torch.float64)
    times = sample_times(default_mixture(), ages, FRACTIONS, seeded())
    recent = 1 - cumulative_mass(history_from_times(times), (ages - 0.1)[:, None])[:, 0]
    assert 0.25 < (recent < 1e-4).double().mean() < 0.5
    shares = np.histogram(recent.log10().numpy(), [-4, -3, -2.5, -2, -1.5, -1, -0.5, 0.01])[0] / len(recent)
    assert shares.min() > 0.01
    assert (recent > 0.9).any()
