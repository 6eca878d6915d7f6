"""Composite spectra against single SSPs, slow sums and the library's own interpolation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.speed import authors

from sfhflow.dust import two_component
from sfhflow.errors import LibraryError
from sfhflow.galaxy import StellarPopulations, resample_library
from sfhflow.grid import C_KMS, LogGrid, air_to_vacuum
from sfhflow.sfh import GaussianProcessSFH, StarFormationHistory, gp_sfr
from sfhflow.ssp import SSPLibrary, load_shipped

AGE = 13.0
GRID = LogGrid(3700.0, 5500.0)


@pytest.fixture(scope="module")
def library():
    """Every sixth age and third metallicity of the shipped library."""
    full = load_shipped().cut(3600.0, 5600.0)
    ages = [*range(0, len(full.ages_gyr) - 1, 6), len(full.ages_gyr) - 1]
    return SSPLibrary(
        "thin",
        full.ages_gyr[ages],
        full.metallicities[::3],
        full.wavelength,
        full.flux[ages][:, ::3],
        full.fwhm,
        full.medium,
    )


@pytest.fixture(scope="module")
def populations(library):
    return StellarPopulations(library, GRID, dtype=torch.float64)


@pytest.fixture(scope="module")
def resampled(library):
    return resample_library(library, GRID)


def bursts(ages_gyr):
    """Instantaneous bursts, in bins of no width."""
    time = AGE - torch.as_tensor(ages_gyr, dtype=torch.float64)[:, None]
    return StarFormationHistory(time.expand(-1, 2), torch.ones_like(time))


def spectra(populations, history, metallicity):
    n = len(history.mass)
    mh = torch.full((n,), metallicity, dtype=torch.float64)
    return populations.spectra(history, mh, torch.full((n,), AGE, dtype=torch.float64)).numpy() * populations.unit


def lines_library(centres, sigma, *, medium="air", step=0.9):
    """One SSP: absorption lines of depth one half on a flat continuum, about 4000-5000 Angstrom."""
    wavelength = np.arange(3990.0, 5010.0, step)
    flux = 1 - 0.5 * np.exp(-0.5 * ((wavelength[:, None] - np.array(centres)) / sigma) ** 2).sum(-1)
    if medium == "vacuum":
        wavelength = air_to_vacuum(wavelength)
    return SSPLibrary("lines", [1.0], [0.0], wavelength, flux[None, None], 2.3548 * sigma, medium)


def test_a_burst_at_an_ssps_age_and_metallicity_is_that_ssp(library, populations, resampled):
    ages = library.ages_gyr[library.ages_gyr < AGE]
    for j, metallicity in enumerate(library.metallicities):
        composite = spectra(populations, bursts(ages), float(metallicity))
        np.testing.assert_allclose(composite, resampled[: len(ages), j], rtol=1e-3)


def test_a_burst_between_the_nodes_is_the_librarys_interpolation(library, populations):
    ages = np.array([0.04, 0.5, 3.3, 11.0])
    composite = spectra(populations, bursts(ages), -0.1)
    between = library.interpolate(ages, -0.1)
    expected = resample_library(
        SSPLibrary("x", ages, [0.0], library.wavelength, between[:, None], 2.5, "air"), GRID
    )[:, 0]
    np.testing.assert_allclose(composite, expected, rtol=1e-3)


def test_combining_equals_a_slow_sum_over_all_ssps(library, populations, resampled):
    rng = np.random.default_rng(0)
    n_ages, n_met = len(library.ages_gyr), len(library.metallicities)
    by_age, by_metallicity = rng.uniform(size=(4, n_ages)), rng.uniform(size=(4, n_met))
    slow = np.zeros((4, GRID.n_pixels))
    for n in range(4):
        for i in range(n_ages):
            for j in range(n_met):
                slow[n] += by_age[n, i] * by_metallicity[n, j] * resampled[i, j]
    fast = populations.combine(torch.tensor(by_age), torch.tensor(by_metallicity)).numpy() * populations.unit
    np.testing.assert_allclose(fast, slow, rtol=3e-4)


def test_an_extended_history_equals_a_slow_integral_over_time(library, populations):
    # constant from 2 to 7 and from 7 to 12.9 Gyr, with different rates
    edges, mass = torch.tensor([[2.0, 7.0, 12.9]], dtype=torch.float64), torch.tensor([[0.8, 0.2]]).double()
    fast = spectra(populations, StarFormationHistory(edges, mass), -0.3)[0]
    total = np.zeros(len(library.wavelength))
    for low, high, share in ((2.0, 7.0, 0.8), (7.0, 12.9, 0.2)):
        times = low + (high - low) * (np.arange(4000) + 0.5) / 4000
        total += share * library.interpolate(AGE - times, -0.3).mean(0)
    slow = SSPLibrary("slow", [1.0], [0.0], library.wavelength, total[None, None], 2.5, "air")
    np.testing.assert_allclose(fast, resample_library(slow, GRID)[0, 0], rtol=1e-3)


def test_spectra_are_linear_in_the_history(populations):
    edges = torch.tensor([[1.0, 4.0, 9.0, 12.99]], dtype=torch.float64)
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    single = spectra(populations, StarFormationHistory(edges.expand(3, -1), torch.eye(3).double()), 0.0)
    together = spectra(populations, StarFormationHistory(edges, shares[None]), 0.0)[0]
    np.testing.assert_allclose(together, shares.numpy() @ single, rtol=1e-9)


def test_young_stars_are_bluer_and_brighter_than_old_ones(populations):
    flux = spectra(populations, bursts([0.1, 1.0, 5.0, 12.0]), 0.0)
    colour = flux[:, GRID.wavelength < 4000].mean(-1) / flux[:, GRID.wavelength > 5300].mean(-1)
    assert np.all(np.diff(colour) < 0)
    assert np.all(np.diff(flux.mean(-1)) < 0)


def test_metal_rich_stars_have_stronger_magnesium(populations):
    flux = [spectra(populations, bursts([8.0]), mh)[0] for mh in (-1.26, -0.35, 0.15)]
    line = (GRID.wavelength > 5160) & (GRID.wavelength < 5190)
    side = (GRID.wavelength > 5120) & (GRID.wavelength < 5140)
    depth = [1 - f[line].mean() / f[side].mean() for f in flux]
    assert depth[0] < depth[1] < depth[2]


def test_single_precision_is_enough(library, populations):
    history = bursts([0.05, 0.7, 9.0])
    single = spectra(StellarPopulations(library, GRID), history, 0.0)
    np.testing.assert_allclose(single, spectra(populations, history, 0.0), rtol=2e-5)


def test_weights_sum_to_one(populations):
    history = bursts([0.001, 0.7, 9.0])
    age = torch.full((3,), AGE, dtype=torch.float64)
    for weights in populations.weights(history, torch.tensor([-1.0, 0.0, 0.1], dtype=torch.float64), age):
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, dtype=torch.float64))


def test_birth_clouds_cover_the_youngest_stars_only(populations):
    wavelength = torch.tensor(GRID.wavelength)
    history, metallicity = bursts([0.005, 0.02, 3.0]), torch.zeros(3, dtype=torch.float64)
    age = torch.full((3,), AGE, dtype=torch.float64)
    dust = two_component(wavelength, torch.full((3,), 0.5).double(), torch.full((3,), 1.0).double())
    bare = populations.spectra(history, metallicity, age)
    seen = populations.dusty_spectra(history, metallicity, age, dust)
    torch.testing.assert_close(seen[1:] / bare[1:], dust.old[1:], rtol=1e-9, atol=0)
    torch.testing.assert_close(seen[0] / bare[0], dust.young[0], rtol=1e-9, atol=0)
    # half the stars of a constant rate over the last 20 Myr are inside
    edges = torch.tensor([[AGE - 0.02, AGE]], dtype=torch.float64)
    recent = StarFormationHistory(edges, torch.ones(1, 1, dtype=torch.float64))
    dust = type(dust)(dust.old[:1], dust.young[:1])
    mixed = populations.dusty_spectra(recent, metallicity[:1], age[:1], dust)
    expected = populations.spectra(recent, metallicity[:1], age[:1]) * 0.5 * (dust.old + dust.young)
    torch.testing.assert_close(mixed, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("metallicity", [-2.5, 0.6])
def test_metallicities_outside_the_library_are_refused(populations, metallicity):
    with pytest.raises(LibraryError, match=r"\[M/H\]"):
        spectra(populations, bursts([1.0]), metallicity)


@pytest.mark.parametrize("grid", [LogGrid(3500.0, 5500.0), LogGrid(3700.0, 5700.0)])
def test_a_grid_beyond_the_library_is_refused(library, grid):
    with pytest.raises(LibraryError, match=r"covers 3600.*wider library"):
        StellarPopulations(library, grid)


def test_lines_keep_their_wavelengths_and_strengths():
    centres = [4101.3, 4307.9, 4500.25, 4861.33]
    grid = LogGrid(4020.0, 4980.0)
    flux = resample_library(lines_library(centres, sigma=1.07), grid)[0, 0]
    width = np.diff(np.exp(grid.log_edges))
    for centre in centres:
        near = np.abs(grid.wavelength - centre) < 12
        absorbed = (1 - flux[near]) * width[near]
        assert absorbed.sum() == pytest.approx(0.5 * 1.07 * np.sqrt(2 * np.pi), rel=0.02)
        centroid = (absorbed * grid.wavelength[near]).sum() / absorbed.sum()
        assert C_KMS * (centroid / centre - 1) == pytest.approx(0.0, abs=2.0)


def test_a_vacuum_library_is_brought_to_air():
    grid = LogGrid(4020.0, 4980.0)
    air, vacuum = (
        resample_library(lines_library([4300.0, 4861.33], 1.5, medium=medium), grid)
        for medium in ("air", "vacuum")
    )
    np.testing.assert_allclose(air, vacuum, atol=1e-4)


def test_the_librarys_line_spread_is_that_of_its_fwhm(library, populations):
    expected = C_KMS * library.fwhm / (2.354820045 * GRID.wavelength)
    np.testing.assert_allclose(populations.library_kms.numpy(), expected, rtol=1e-6)


def test_spectra_of_the_thesis_prior_are_those_of_its_loop_over_a_thousand_ssps(library, resampled):
    on_grid = replace(library, wavelength=GRID.wavelength, flux=resampled, fwhm=2.5, medium="air")
    ages = torch.full((6,), AGE, dtype=torch.float64)
    tuples = GaussianProcessSFH(log_sfr_range=(-3.0, 2.0)).sample_tuples(ages, torch.Generator().manual_seed(2))
    sfr, time = gp_sfr(tuples, ages)
    history = StarFormationHistory(time, sfr[:, 1:] / sfr[:, 1:].sum(-1, keepdim=True))
    metallicity = torch.linspace(-1.2, 0.1, 6, dtype=torch.float64)
    exact = StellarPopulations(library, GRID, tolerance=1e-7)
    fast = exact.spectra(history, metallicity, ages).numpy() * exact.unit
    slow = [
        authors.spectrum(row, float(mh), AGE, on_grid) for row, mh in zip(tuples.numpy(), metallicity, strict=True)
    ]
    np.testing.assert_allclose(fast, slow, rtol=1e-5)
