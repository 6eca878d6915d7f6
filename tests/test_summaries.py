"""Quantiles of one galaxy and of batches, against NumPy and against a literal reading of the rule."""

import numpy as np
import pytest

import toy
from sfhflow.answers import PosteriorBatch
from sfhflow.derived import all_columns
from sfhflow.parameters import FRACTIONS
from sfhflow.posterior import QUANTILES
from sfhflow.summaries import quantiles, summarise

LEVELS = list(QUANTILES.values())


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantiles_are_those_of_numpy(n, dtype):
    samples = np.random.default_rng(n).normal(size=(3, 4, n)).astype(dtype)
    expected = np.moveaxis(np.quantile(samples.astype(float), LEVELS, axis=-1), 0, -1)
    result = quantiles(samples)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=1e-5 if dtype is np.float32 else 1e-12, atol=1e-6)


def test_undefined_samples_count_as_the_lowest_and_are_never_mixed_with_numbers():
    # 40 of 100 undefined: the median is the 11th of the 60 others, the lower quantiles are undefined
    samples = np.concatenate([np.full(40, np.nan), np.arange(60.0)])[None]
    np.testing.assert_array_equal(quantiles(samples), [[10.0, np.nan, 44.0, np.nan, 57.0]])
    assert np.isnan(quantiles(np.full((1, 5), np.nan))).all()


def test_infinite_samples_count_as_the_highest():
    # 40 of 100 later than any number: those above the 60th are undefined
    samples = np.concatenate([np.full(40, np.inf), np.arange(60.0)])[None]
    np.testing.assert_array_equal(quantiles(samples), [[50.0, 16.0, np.nan, 2.0, np.nan]])
    assert np.isnan(quantiles(np.full((1, 5), np.inf))).all()


@pytest.fixture(scope="module")
def batch():
    """Five galaxies, some of which still form stars in some samples."""
    return next(toy.model().infer_batches(toy.spectra(5), n_samples=200, seed=1))


def test_a_batch_holds_the_posteriors_that_are_inferred_one_by_one(batch):
    assert isinstance(batch, PosteriorBatch)
    singles = toy.model().infer(toy.spectra(5), n_samples=200, seed=1)
    for one, other in zip(batch, singles, strict=True):
        assert one.verdict == other.verdict
        assert (one.age_of_universe, one.seed, one.model) == (other.age_of_universe, other.seed, other.model)
        for name in ("times", "metallicity", "a_v", "sigma_kms"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_columns_and_summaries_of_a_batch_are_those_of_its_galaxies(batch):
    together, names = all_columns(batch), list(all_columns(batch[0]))
    values, units, p_quiescent = summarise(batch)
    single = summarise(batch, dtype=np.float32).quantiles
    assert list(together) == list(units) == names
    assert values.shape == (5, len(names), len(LEVELS))
    for row, posterior in enumerate(batch):
        for name, (samples, unit) in all_columns(posterior).items():
            np.testing.assert_allclose(together[name][0][row], samples, rtol=1e-12, atol=1e-12)
            assert together[name][1] == unit == units[name]
        alone = summarise(posterior)
        np.testing.assert_allclose(values[row], alone.quantiles, rtol=1e-12, atol=1e-12)
        assert p_quiescent[row] == alone.p_quiescent
    np.testing.assert_allclose(single, values, rtol=1e-5, atol=1e-5)
    t50 = values[:, names.index("t50"), 0]
    np.testing.assert_allclose(t50, np.median(batch.times[..., FRACTIONS.index(0.5)], axis=-1), rtol=1e-12)
