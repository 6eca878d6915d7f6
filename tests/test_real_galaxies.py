"""The shipped model on real galaxies and star clusters whose answers are known, at least in order."""

import itertools

import numpy as np
import pytest
from benchmarks.real import posteriors, print_table, row

from sfhflow import load_model
from sfhflow.parameters import FRACTIONS


@pytest.fixture(scope="module")
def fitted(shared_data):
    found = posteriors(load_model("default"), shared_data)
    print_table([row(posterior) for posterior in found])
    return {posterior.spectrum.name: posterior for posterior in found}


@pytest.fixture(scope="module")
def stacks(fitted):
    """The six stacks in order of velocity dispersion."""
    names = sorted(
        (name for name in fitted if name.startswith("stack_")), key=lambda name: int(name.split("_")[1])
    )
    assert len(names) == 6
    return [fitted[name] for name in names]


def spearman(x, y):
    """Rank correlation of two sequences without ties."""
    return np.corrcoef(np.argsort(np.argsort(x)), np.argsort(np.argsort(y)))[0, 1]


def late(posterior):
    """Median t90 as a fraction of the age of the Universe."""
    return float(np.median(posterior.formation_times[:, 8]) / posterior.age_of_universe)


def test_every_sample_is_ordered_finite_and_inside_the_age_of_the_universe(fitted):
    for posterior in fitted.values():
        times = posterior.formation_times
        assert np.all(np.isfinite(times))
        assert np.all(np.diff(times, axis=1) > 0)
        assert times.min() > 0
        assert times.max() < posterior.age_of_universe
        assert np.all(np.isfinite(posterior.metallicity))


def test_galaxies_of_higher_velocity_dispersion_formed_earlier_and_are_more_metal_rich(stacks):
    sigma = np.arange(6)
    metallicity = [np.median(posterior.metallicity) for posterior in stacks]
    print("[M/H]", np.round(metallicity, 3))
    assert spearman(sigma, metallicity) >= 0.9
    # the more massive ones formed within half a Gyr, too early to be told apart: no rise there means anything
    for column in (4, 8):
        times = [posterior.formation_times[:, column] / posterior.age_of_universe for posterior in stacks]
        median, error = np.median(times, axis=1), np.std(times, axis=1)
        print("times / age of the Universe", np.round(median, 3), np.round(error, 3))
        assert np.all(np.diff(median) < 0.25 * error[1:])
        assert median[:2].min() > 1.3 * median[2:].max()
        assert median[0] > 3 * median[-1]


def test_velocity_dispersions_of_the_stacks_are_those_of_their_bins(stacks):
    for posterior in stacks:
        low, high = map(float, posterior.spectrum.name.split("_")[1:3])
        assert np.median(posterior.sigma_kms) == pytest.approx((low + high) / 2, rel=0.1)


def test_the_globular_cluster_ngc_1851_is_as_metal_poor_as_the_literature_says(fitted):
    cluster = fitted["NGC1851_schiavon05_from_ggc1h5"]
    assert np.median(cluster.metallicity) == pytest.approx(-1.2, abs=0.15)


PASSIVE = ("spec-0403-51871-0462", "NGC4636_SDSS_DR12", "spSpec-52143-0650-180")
ACTIVE = ("spec-1014-52707-0584", "spec-2101-53858-0220")


# the burst of spec-1014 is less than a tenth of its mass, so its t90 is that of its old stars and, within errors,
# as early as that of NGC 4636; the 99 % tell them apart, below
UNTOLD = pytest.param("NGC4636_SDSS_DR12", "spec-1014-52707-0584", marks=pytest.mark.xfail(reason="a small burst"))


@pytest.mark.parametrize(
    ("passive", "young"),
    [UNTOLD if pair == UNTOLD.values else pair for pair in itertools.product(PASSIVE, ACTIVE)],
)
def test_passive_galaxies_stopped_forming_stars_before_active_ones(fitted, passive, young):
    assert late(fitted[passive]) < late(fitted[young])


@pytest.mark.parametrize(("passive", "active"), list(itertools.product(PASSIVE, ACTIVE)))
def test_the_last_per_cent_of_the_mass_is_recent_in_active_galaxies_only(fitted, passive, active):
    index = FRACTIONS.index(0.99)

    def last(name):
        return np.quantile(fitted[name].times[:, index] / fitted[name].age_of_universe, [0.16, 0.84])

    assert last(passive)[1] < last(active)[0]


def test_an_extreme_starburst_is_refused(fitted):
    verdict = fitted["sdss_dr18_0358-51818-0504"].verdict
    assert not verdict.ok
    assert "bad_fit" in verdict.reasons
