"""The proof of calibration, proved on posteriors that are right, too narrow, too wide and shifted on purpose."""

import json
import math
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfhflow.diagnostics import (
    bias,
    bonferroni,
    calibration_report,
    central_levels,
    coverage,
    coverage_band,
    coverage_error,
    expected_coverage,
    information_gain,
    join,
    local_coverage,
    posterior_mean,
    r2,
    ranks,
    reduce_samples,
    sharpness,
    tarp,
    uniformity_p_value,
)
from sfhflow.errors import InputError

N_GALAXIES, N_SAMPLES = 3000, 300
LEVELS = np.array([0.1, 0.3, 0.5, 0.68, 0.9, 0.95])
NAMES = ("t50", "t90", "mh")


@dataclass
class LinearGaussian:
    """theta ~ N(0, P), x = A theta + N(0, I): the posterior is Gaussian and known in closed form."""

    truth: np.ndarray  # (G, D)
    mean: np.ndarray  # (G, D)
    covariance: np.ndarray  # (D, D), the same for all galaxies
    prior: np.ndarray  # (D, D)

    def samples(self, *, widen=1.0, shift=0.0, seed=1):
        """Posterior samples with the covariance's root times `widen` and the mean moved by `shift` sigma."""
        noise = np.random.default_rng(seed).normal(size=(len(self.truth), N_SAMPLES, len(self.prior)))
        noise = noise @ (widen * np.linalg.cholesky(self.covariance)).T
        return self.mean[:, None] + shift * self.sigma + noise

    @property
    def sigma(self):
        return np.sqrt(np.diag(self.covariance))


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(12)
    prior = np.array([[1.0, 0.6, 0.2], [0.6, 2.0, -0.3], [0.2, -0.3, 0.5]])
    design = rng.normal(size=(4, 3))
    truth = rng.normal(size=(N_GALAXIES, 3)) @ np.linalg.cholesky(prior).T
    data = truth @ design.T + rng.normal(size=(N_GALAXIES, 4))
    covariance = np.linalg.inv(np.linalg.inv(prior) + design.T @ design)
    return LinearGaussian(truth, data @ design @ covariance, covariance, prior)


@pytest.fixture(scope="module")
def reports(model):
    cases = {"exact": {}, "narrow": {"widen": 0.7}, "wide": {"widen": 1.4}, "shifted": {"shift": 0.3}}
    return {name: calibration_report(model.samples(**case), model.truth, NAMES) for name, case in cases.items()}


# --- three ways (and a fourth): right, too narrow, too wide, shifted ---


def test_the_exact_posterior_passes_every_test(reports):
    report = reports["exact"]
    assert report.is_calibrated
    assert (report.rank_p_value > 0.01).all()
    assert (report.width_p_value > 0.01).all()
    assert report.tarp.p_value > 0.01
    low, high = coverage_band(report.levels, N_GALAXIES, confidence=0.999)
    assert ((low[:, None] <= report.coverage) & (report.coverage <= high[:, None])).all()
    spread = report.tarp.high - report.tarp.low
    assert (abs(report.tarp.coverage - report.levels) < spread).all()


def test_a_posterior_too_narrow_fails_with_too_little_coverage(reports):
    report = reports["narrow"]
    assert not report.is_calibrated
    assert (report.width_p_value < 1e-6).all()
    assert (report.coverage < report.coverage_low[:, None]).all()
    assert (report.coverage_error < -0.1).all()
    assert (report.rank_histogram[[0, -1]] > 1.5 * N_GALAXIES / 20).all()


def test_a_posterior_too_wide_fails_with_too_much_coverage(reports):
    report = reports["wide"]
    assert not report.is_calibrated
    assert (report.width_p_value < 1e-6).all()
    assert (report.coverage > report.coverage_high[:, None]).all()
    assert (report.rank_histogram[[0, -1]] < 0.6 * N_GALAXIES / 20).all()


def test_the_coverage_of_a_wrong_width_is_the_analytic_one(model, reports):
    # |z| < k sigma is promised where the truth has the k / widen sigma interval
    for case, widen in (("narrow", 0.7), ("wide", 1.4)):
        got = coverage(ranks(model.samples(widen=widen), model.truth), [math.erf(1 / math.sqrt(2))])
        expected = math.erf(widen / math.sqrt(2))
        assert got[0] == pytest.approx([expected] * 3, abs=4 * coverage_error(expected, N_GALAXIES)[0]), case


def test_a_shifted_posterior_fails_its_ranks_and_shows_the_bias(model, reports):
    report = reports["shifted"]
    assert not report.is_calibrated
    assert (report.rank_p_value < 1e-6).all()
    assert (report.rank_histogram[0] > 2 * report.rank_histogram[-1]).all()  # truth among the low samples
    error = model.sigma / math.sqrt(N_GALAXIES)
    assert (abs(report.bias - 0.3 * model.sigma) < 5 * error).all()
    assert (abs(reports["exact"].bias) < 5 * error).all()


def test_tarp_bends_to_the_known_sides_for_wrong_widths(reports):
    low, high = slice(0, 2), slice(-7, None)  # levels up to 0.1, and from 0.65 on
    for case, sign in (("narrow", 1), ("wide", -1)):
        curve = reports[case].tarp
        assert curve.p_value < 1e-6, case
        assert (sign * (curve.coverage - curve.levels)[low] > 0).all(), case
        assert (sign * (curve.coverage - curve.levels)[high] < 0).all(), case
        outside = (curve.low > curve.levels) | (curve.high < curve.levels)
        assert outside[low].all(), case
        assert outside[high].all(), case


def test_tarp_sees_a_wrong_correlation_that_the_marginals_hide():
    rng = np.random.default_rng(3)
    correlated = np.linalg.cholesky([[1.0, 0.95], [0.95, 1.0]])
    centre = rng.normal(size=(N_GALAXIES, 2))
    truth = centre + rng.normal(size=(N_GALAXIES, 2)) @ correlated.T
    samples = centre[:, None] + rng.normal(size=(N_GALAXIES, N_SAMPLES, 2))
    rank = ranks(samples, truth)
    assert bonferroni(uniformity_p_value(rank)) > 0.01
    assert bonferroni(uniformity_p_value(central_levels(rank))) > 0.01
    assert tarp(samples, truth, n_references=3).p_value < 1e-4


def test_several_references_agree_with_one_and_pass_too(model):
    one, five = (tarp(model.samples(), model.truth, n_references=n, levels=LEVELS) for n in (1, 5))
    assert five.p_value > 0.01
    np.testing.assert_allclose(five.coverage, one.coverage, atol=0.04)


def test_the_bootstrap_band_is_as_wide_as_the_binomial_one(model):
    curve = tarp(model.samples(), model.truth, levels=LEVELS, n_bootstrap=1000)
    expected = 2 * 1.96 * coverage_error(curve.coverage, N_GALAXIES)
    np.testing.assert_allclose(curve.high - curve.low, expected, rtol=0.15)


def test_a_calibrated_curve_is_inside_the_band_of_all_levels_as_often_as_promised():
    rng = np.random.default_rng(14)
    curves = [expected_coverage(rng.random((400, 1)), n_bootstrap=300, seed=seed) for seed in range(300)]
    inside = [np.abs(curve.coverage - curve.levels).max() <= curve.half_width for curve in curves]
    assert np.mean(inside) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 300))
    # level by level, the narrower bands are left somewhere more often
    everywhere = [np.all((curve.low <= curve.levels) & (curve.levels <= curve.high)) for curve in curves]
    assert np.mean(everywhere) < 0.85


def test_ranks_of_log_probabilities_test_the_joint_posterior(model):
    precision = np.linalg.inv(model.covariance)

    def log_prob(theta, widen):
        z = theta - (model.mean[:, None] if theta.ndim == 3 else model.mean)
        return -0.5 * np.einsum("...i,ij,...j->...", z, precision, z) / widen**2

    for widen, verdict in ((1.0, True), (0.7, False), (1.4, False)):
        at_samples = log_prob(model.samples(widen=widen), widen)
        rank = ranks(at_samples[..., None], log_prob(model.truth, widen)[:, None])
        assert (uniformity_p_value(rank)[0] > 0.01) == verdict


# --- ranks and their uniformity ---


def test_ranks_equal_the_slow_count():
    rng = np.random.default_rng(0)
    samples, truth = rng.normal(size=(20, 17, 3)), rng.normal(size=(20, 3))
    integer = np.floor(18 * ranks(samples, truth))
    for g in range(20):
        for d in range(3):
            assert integer[g, d] == sum(value < truth[g, d] for value in samples[g, :, d])


def test_tied_samples_spread_the_rank_over_all_places():
    rank = ranks(np.zeros((20_000, 4, 1)), np.zeros((20_000, 1)))
    np.testing.assert_allclose(np.bincount(np.floor(5 * rank[:, 0]).astype(int)) / 20_000, 0.2, atol=0.015)


def test_equal_seeds_give_equal_ranks_and_others_differ(model):
    samples = model.samples()[:50, :10]
    first, again, other = (ranks(samples, model.truth[:50], seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


whole_numbers = st.integers(-1000, 1000)


@settings(max_examples=50, deadline=None)
@given(st.lists(whole_numbers, min_size=2, max_size=30), whole_numbers)
def test_ranks_do_not_change_under_monotone_transforms_or_reordering(values, true):
    samples, truth = np.array(values, dtype=float)[None, :, None], np.array([[float(true)]])
    rank = ranks(samples, truth)
    for transform in (lambda v: v**3, lambda v: 2 * v + 7, np.arcsinh):
        np.testing.assert_array_equal(ranks(transform(samples), transform(truth)), rank)
    np.testing.assert_array_equal(ranks(samples[:, ::-1], truth), rank)
    assert 0 <= rank[0, 0] < 1


@settings(max_examples=50, deadline=None)
@given(st.lists(whole_numbers, min_size=2, max_size=30, unique=True))
def test_turning_the_axis_around_turns_the_ranks_around(values):
    samples, truth = np.array(values[1:], dtype=float)[None, :, None], np.array([[float(values[0])]])
    n = len(values)
    assert np.floor(n * ranks(samples, truth)) + np.floor(n * ranks(-samples, -truth)) == n - 1


@pytest.mark.parametrize("n_samples", [3, 50])
@pytest.mark.parametrize("test", [lambda rank: rank, central_levels])
def test_the_p_value_raises_false_alarms_as_often_as_it_says(n_samples, test):
    # 800 calibrated experiments at once, with so few samples that a continuous test of whole ranks would fail
    rng = np.random.default_rng(5)
    rank = ranks(rng.normal(size=(500, n_samples, 800)), rng.normal(size=(500, 800)))
    p_values = uniformity_p_value(test(rank))
    for alpha in (0.05, 0.3, 0.7):
        assert np.mean(p_values < alpha) == pytest.approx(alpha, abs=4 * math.sqrt(alpha * (1 - alpha) / 800))


def test_the_p_value_agrees_with_the_exact_kolmogorov_distribution():
    stats = pytest.importorskip("scipy.stats", reason="scipy serves as the independent truth")
    rng = np.random.default_rng(6)
    for n in (10, 100, 1000):
        values = rng.random((n, 40)) ** rng.uniform(0.8, 1.2, 40)
        expected = [stats.kstest(column, "uniform", method="exact").pvalue for column in values.T]
        np.testing.assert_allclose(uniformity_p_value(values), expected, atol=0.003)


def test_bonferroni_multiplies_the_smallest_and_stays_a_probability():
    assert bonferroni([0.5, 0.01, 0.2]) == pytest.approx(0.03)
    assert bonferroni([0.9, 0.6]) == 1.0


# --- coverage ---


def test_the_band_is_the_narrowest_range_of_hits_with_the_tails_it_may_leave():
    n, level = 40, 0.68
    chance = [math.comb(n, k) * level**k * (1 - level) ** (n - k) for k in range(n + 1)]
    low, high = coverage_band([level], n, confidence=0.9)
    below, above = round(low[0] * n), round(high[0] * n)
    assert sum(chance[:below]) <= 0.05 < sum(chance[: below + 1])
    assert sum(chance[above + 1 :]) <= 0.05 < sum(chance[above:])


def test_the_band_holds_for_many_galaxies():
    low, high = coverage_band([0.001, 0.5, 0.999], 100_000)
    error = coverage_error([0.001, 0.5, 0.999], 100_000)
    np.testing.assert_allclose(high - low, 2 * 1.96 * error, rtol=0.1)


def test_coverage_of_few_samples_has_no_bias():
    rng = np.random.default_rng(8)
    rank = ranks(rng.normal(size=(40_000, 9, 1)), rng.normal(size=(40_000, 1)))
    got = coverage(rank, LEVELS)[:, 0]
    assert (abs(got - LEVELS) < 4 * coverage_error(LEVELS, 40_000)).all()


def test_local_coverage_finds_what_the_average_hides(model):
    # too narrow where the property is low, too wide where it is high
    by = np.random.default_rng(9).random(N_GALAXIES)
    narrow, wide = model.samples(widen=0.7), model.samples(widen=1.43)
    rank = ranks(np.where(by[:, None, None] < 0.5, narrow, wide), model.truth)
    assert coverage(rank, [0.68]) == pytest.approx(0.68, abs=0.04)
    local = local_coverage(rank, by, [0.0, 0.25, 0.5, 0.75, 1.0], [0.68])
    deviation = (local.coverage - 0.68)[:, 0] / local.error
    assert (deviation[:2] < -4).all()
    assert (deviation[2:] > 4).all()
    assert local.count.sum() == N_GALAXIES


def test_local_coverage_bins_like_a_histogram_and_leaves_empty_bins_undefined():
    by = np.array([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, np.nan, 3.1])
    edges = np.array([0.0, 1.0, 1.5, 2.0, 3.0])
    local = local_coverage(np.full((8, 1), 0.5), by, edges, [0.5, 0.9])
    np.testing.assert_array_equal(local.count, np.histogram(by[np.isfinite(by)], edges)[0])
    empty = local_coverage(np.full((2, 1), 0.5), [0.1, 0.2], [0.0, 1.0, 2.0], [0.5])
    assert empty.coverage[0, 0, 0] == 1.0
    assert np.isnan(empty.coverage[1]).all()
    assert np.isnan(empty.error[1]).all()


# --- quality ---


def test_r2_sharpness_and_information_are_those_of_the_linear_model(model, reports):
    report, share = reports["exact"], np.diag(model.covariance) / np.diag(model.prior)
    np.testing.assert_allclose(report.r2, 1 - share, atol=0.02)
    np.testing.assert_allclose(report.sharpness, 2 * 0.99446 * model.sigma, rtol=0.01)  # 84 % quantile of N(0, 1)
    np.testing.assert_allclose(report.information_gain, -0.5 * np.log2(share), atol=0.06)


def test_r2_and_bias_of_simple_guesses():
    truth = np.random.default_rng(1).normal(size=(100, 2))
    np.testing.assert_allclose(r2(truth, truth), 1)
    np.testing.assert_allclose(r2(np.broadcast_to(truth.mean(axis=0), truth.shape), truth), 0, atol=1e-12)
    np.testing.assert_allclose(bias(truth + np.array([0.5, -2.0]), truth), [0.5, -2.0])
    assert np.isnan(r2(np.ones((5, 1)), np.ones((5, 1)))).all()


def test_single_precision_samples_keep_their_mean():
    samples = np.full((1, 20_000, 1), 0.1, dtype=np.float32) + np.float32(1000.0)
    assert posterior_mean(samples)[0, 0] == pytest.approx(float(samples[0, 0, 0]), rel=1e-12)
    assert sharpness(samples)[0] == 0


# --- information gain ---


@pytest.mark.parametrize("width", [1.0, 0.5, 0.1, 0.01])
def test_information_gain_of_gaussians_is_the_analytic_divergence(width):
    rng = np.random.default_rng(2)
    prior = 3 + 2 * rng.normal(size=(20_000, 1))
    mean = rng.normal(size=200) * math.sqrt(1 - width**2)
    unit = mean[:, None] + width * rng.normal(size=(200, 1000))
    gain = information_gain((3 + 2 * unit)[..., None], prior)[:, 0]
    expected = (-math.log(width) + (width**2 + mean**2 - 1) / 2) / math.log(2)
    assert np.mean(gain - expected) == pytest.approx(0, abs=0.06)
    assert np.std(gain - expected) < (0.12 if width >= 0.1 else 0.35)


@pytest.mark.parametrize("width", [1.0, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("n_samples", [100, 1000])
def test_information_gain_of_uniforms_is_the_log_of_the_width(width, n_samples):
    rng = np.random.default_rng(3)
    start = rng.random((300, 1)) * (1 - width)
    samples = start + width * rng.random((300, n_samples))
    gain = information_gain(samples[..., None], rng.random((20_000, 1)))
    assert gain.mean() == pytest.approx(-math.log2(width), abs=0.03 if width >= 0.1 else 0.08)


def test_information_gain_does_not_depend_on_units_or_direction():
    rng = np.random.default_rng(4)
    prior, samples = rng.normal(size=(5000, 1)), 0.3 * rng.normal(size=(20, 500, 1))
    gain = information_gain(samples, prior)
    np.testing.assert_allclose(information_gain(-5 * samples + 2, -5 * prior + 2), gain, atol=1e-6)
    # a curved transform differs only by the interpolation between prior quantiles
    np.testing.assert_allclose(information_gain(np.exp(samples), np.exp(prior)), gain, atol=0.02)


def test_information_gain_counts_an_atom_of_the_prior_by_its_mass():
    rng = np.random.default_rng(5)
    prior = np.where(rng.random((20_000, 1)) < 0.25, 0.0, rng.random((20_000, 1)))
    always_atom, as_prior = np.zeros((1, 1000, 1)), prior[None, :2000]
    assert information_gain(always_atom, prior)[0, 0] == pytest.approx(2.0, abs=0.05)
    assert information_gain(as_prior, prior)[0, 0] == pytest.approx(0.0, abs=0.05)


def test_information_gain_stays_finite_outside_the_prior_and_for_equal_samples():
    prior = np.random.default_rng(6).random((1000, 1))
    for value in (0.5, 7.0):
        gain = information_gain(np.full((1, 100, 1), value), prior)[0, 0]
        assert 8 < gain <= math.log2(1000) + 0.1


# --- reductions ---


def test_a_reduction_holds_what_the_samples_say(model):
    samples, prior = model.samples()[:200], model.truth
    found = reduce_samples(samples, model.truth[:200], prior_samples=prior, seed=3)
    low, median, high = np.quantile(samples, [0.16, 0.5, 0.84], axis=1)
    for got, expected in ((found.low, low), (found.median, median), (found.high, high)):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.rank, ranks(samples, model.truth[:200], seed=3))
    np.testing.assert_array_equal(found.gain, information_gain(samples, prior, seed=3))
    np.testing.assert_allclose(found.mean, posterior_mean(samples))
    np.testing.assert_allclose(np.median(found.width, axis=0), sharpness(samples))


def test_the_region_of_a_galaxy_reaches_from_another_truth_to_its_own(model):
    samples, truth = model.samples()[:50], model.truth[:50]
    found = reduce_samples(samples, truth, prior_samples=model.truth)
    scale = model.truth.std(axis=0)
    for row in range(50):
        reference = truth[row - 1]
        reach = np.sum(((truth[row] - reference) / scale) ** 2)
        nearer = sum(np.sum(((sample - reference) / scale) ** 2) < reach for sample in samples[row])
        assert nearer / (N_SAMPLES + 1) <= found.region[row] < (nearer + 1) / (N_SAMPLES + 1)


def test_reductions_of_batches_are_joined_in_order(model):
    parts = [
        reduce_samples(model.samples()[rows], model.truth[rows], prior_samples=model.truth)
        for rows in (slice(0, 30), slice(30, 50))
    ]
    whole = join(parts)
    assert len(whole) == 50
    np.testing.assert_array_equal(whole.truth, model.truth[:50])
    np.testing.assert_array_equal(whole.rows(slice(30, None)).rank, parts[1].rank)


# --- the report ---


def test_the_report_is_strict_json_with_every_quantity(reports):
    text = json.dumps(reports["exact"].to_dict(), allow_nan=False)
    back = json.loads(text)
    assert tuple(back["quantities"]) == NAMES
    assert back["is_calibrated"] is True
    assert back["quantities"]["mh"]["r2"] == pytest.approx(reports["exact"].r2[2])
    assert len(back["tarp"]["coverage"]) == len(back["tarp"]["levels"])
    assert sum(back["quantities"]["t50"]["rank_histogram"]) == N_GALAXIES


def test_an_undefined_number_becomes_null_in_the_report():
    rng = np.random.default_rng(7)
    report = calibration_report(rng.normal(size=(30, 20, 1)), np.zeros((30, 1)), ["constant"])
    quantity = json.loads(json.dumps(report.to_dict(), allow_nan=False))["quantities"]["constant"]
    assert quantity["r2"] is None


def test_walking_in_small_slices_changes_memory_but_no_result(model, monkeypatch):
    samples, truth = model.samples().astype(np.float32), model.truth  # 11 MB

    def everything():
        curve = tarp(samples, truth, n_bootstrap=5)
        gain = information_gain(samples, truth)
        return [ranks(samples, truth), curve.coverage, curve.low, sharpness(samples), gain]

    whole = everything()
    monkeypatch.setattr("sfhflow.diagnostics.samples._TEMPORARY_BYTES", 500_000)
    tracemalloc.start()
    sliced = everything()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for one, other in zip(whole, sliced, strict=True):
        np.testing.assert_array_equal(one, other)
    assert peak < 5e6


# --- errors a user can mend ---

GOOD = np.zeros((4, 5, 2)) + np.arange(5)[None, :, None]
TRUE = np.zeros((4, 2))
HOLED = np.where(np.arange(4)[:, None, None] == 2, np.nan, GOOD)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranks(GOOD[0], TRUE), r"samples: found shape \(5, 2\)"),
        (lambda: ranks(GOOD, TRUE[:3]), r"truth: found shape \(3, 2\), expected \(4, 2\)"),
        (lambda: ranks(HOLED, TRUE), "NaN for galaxy 2, quantity 0"),
        (lambda: ranks(GOOD, TRUE * np.nan), "truth: found NaN"),
        (lambda: ranks([[["a"]]], [[0.0]]), "expected real numbers"),
        (lambda: coverage(np.full((3, 1), 7), [0.5]), "ranks: found values outside 0 to 1"),
        (lambda: coverage(np.full((3, 1), 0.5), [68]), "levels: found .*68"),
        (lambda: coverage_band([0.5], 0), "n: found 0"),
        (lambda: local_coverage(np.full((3, 1), 0.5), [1, 2], [0, 1], [0.5]), r"by: found shape \(2,\)"),
        (lambda: local_coverage(np.full((1, 1), 0.5), [1], [1, 0], [0.5]), "edges: found"),
        (lambda: tarp(GOOD[:2], TRUE[:2]), "found 2 galaxies"),
        (lambda: tarp(GOOD, TRUE + np.inf), "truth: found infinite"),
        (lambda: r2(TRUE, TRUE[:2]), "prediction: found shape"),
        (lambda: information_gain(GOOD, np.zeros((100, 3))), "prior_samples: found shape"),
        (lambda: information_gain(GOOD, np.zeros((19, 2))), "expected at least 20"),
        (lambda: calibration_report(GOOD, TRUE, ["only one"]), "names: found 1, expected 2"),
        (lambda: bonferroni([]), "p_values: found none"),
        (lambda: reduce_samples(GOOD[:1], TRUE[:1], prior_samples=np.zeros((99, 2))), "found 1 galaxy"),
    ],
)
def test_unusable_input_is_refused_with_a_message_that_says_what_to_do(call, message):
    with pytest.raises(InputError, match=message):
        call()
