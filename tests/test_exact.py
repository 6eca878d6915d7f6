"""The true likelihood: against dense matrices, against simulations, and where everything is Gaussian."""

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from sfhflow.dust import DustModel
from sfhflow.errors import InputError
from sfhflow.exact import (
    AmortizedProposal,
    LatentProposal,
    Likelihood,
    Nuisances,
    Refiner,
)
from sfhflow.exact.hyper import explore, log_uniform, normal, uniform
from sfhflow.exact.projected import ProjectedTemplates
from sfhflow.exact.stars import ChebyshevNodes
from sfhflow.exact.templates import Templates
from sfhflow.gaussian_mixture import GaussianMixture
from sfhflow.lines import EmissionModel
from sfhflow.mismatch import TemplateMismatch
from sfhflow.noise import NoiseModel
from sfhflow.observation import Observation, observe
from sfhflow.parameters import GalaxyParameters
from sfhflow.prior import Prior
from sfhflow.simulator import InstrumentModel
from toy import GRID, model, simulator, spectra

pytestmark = pytest.mark.skipif(find_spec("scipy") is None, reason="the likelihood needs scipy")

CALM = InstrumentModel(
    sigma_range_kms=(200.0, 200.0), slope_range=(0.0, 0.0), unknown_probability=0.0, calibration_range=(0.01, 0.01)
)


def histories() -> GaussianMixture:
    """One broad Gaussian in the log-ratios of the gaps."""
    return GaussianMixture(torch.ones(1).double(), torch.zeros(1, 13).double(), torch.eye(13).double()[None])


def exact_simulator(**changes):
    return simulator(**{"prior": Prior(histories(), max_redshift=0.1), **changes})


@pytest.fixture(scope="module")
def galaxies():
    return exact_simulator().sample(8, seed=21)


@pytest.fixture(scope="module")
def nuisances():
    return Nuisances(exact_simulator())


def around(u: torch.Tensor, n: int = 300, rms: float = 0.1) -> torch.Tensor:
    """Samples near a point, as a good posterior would give."""
    generator = torch.Generator().manual_seed(1)
    return u.double() + rms * torch.randn(n, len(u), generator=generator, dtype=torch.float64)


def likelihood(galaxies, nuisances, row: int = 0) -> Likelihood:
    return Likelihood(galaxies.observation.rows(slice(row, row + 1)), nuisances, around(galaxies.u[row]))


def slow_log_likelihood(like: Likelihood, u: torch.Tensor) -> float:
    """ln p(d | u) with full matrices and a sum over many amplitudes A, for one u (1, D)."""
    m = like.templates(u)[0].numpy()
    change, rms = -0.4 * math.log(10) * calzetti_ratio(like), like.templates.simulator.dust.slope_range
    rms = (rms[1] - rms[0]) / math.sqrt(12)
    tilted = float(like.templates.attenuation(u)) * change * m
    pixels, d = like.data.pixels, like.data.flux
    total = []
    for amplitudes, log_weight in like.nodes:
        k = like.covariance.dense(amplitudes)
        best = (m[pixels] @ np.linalg.solve(k, d)) / (m[pixels] @ np.linalg.solve(k, m[pixels]))
        slope = best * rms * tilted[pixels]
        k = k + np.outer(slope, slope)
        _, log_det = np.linalg.slogdet(2 * np.pi * k)
        inverse = np.linalg.inv(k)
        centre = (m[pixels] @ inverse @ d) / (m[pixels] @ inverse @ m[pixels])
        width = (m[pixels] @ inverse @ m[pixels]) ** -0.5
        log_a = np.linspace(math.log(centre) - 9 * width / centre, math.log(centre) + 9 * width / centre, 2001)
        dd, md, mm = d @ inverse @ d, m[pixels] @ inverse @ d, m[pixels] @ inverse @ m[pixels]
        chi2 = dd - 2 * np.exp(log_a) * md + np.exp(2 * log_a) * mm
        integral = np.trapezoid(np.exp(-0.5 * (chi2 - chi2.min())), log_a)
        total.append(log_weight + math.log(integral) - 0.5 * (chi2.min() + log_det))
    return float(np.logaddexp.reduce(total))


def calzetti_ratio(like: Likelihood) -> np.ndarray:
    """k(lambda) / k(5500 A) (lambda / 5500)^slope ln(lambda / 5500) of Calzetti et al. (2000), both branches."""
    x = 1e4 / GRID.wavelength
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3) + 4.05
    k = np.where(GRID.wavelength >= 6300, 2.659 * (-1.857 + 1.040 * x) + 4.05, blue)
    y = 1e4 / 5500.0
    at_v = 2.659 * (-2.156 + 1.509 * y - 0.198 * y**2 + 0.011 * y**3) + 4.05
    low, high = like.templates.simulator.dust.slope_range
    return k / at_v * (GRID.wavelength / 5500.0) ** (0.5 * (low + high)) * np.log(GRID.wavelength / 5500.0)


def test_the_fast_likelihood_is_that_of_dense_matrices(galaxies, nuisances):
    for row in range(3):
        like = likelihood(galaxies, nuisances, row)
        points = around(galaxies.u[row], 4)
        slow = [slow_log_likelihood(like, u[None]) for u in points]
        assert like(points).numpy() == pytest.approx(slow, abs=0.02)


def test_the_likelihood_of_far_points_is_that_of_dense_matrices_too(galaxies, nuisances):
    like = likelihood(galaxies, nuisances)
    far = exact_simulator().sample(4, seed=5).u.double()
    fast, slow = like(far).numpy(), np.array([slow_log_likelihood(like, u[None]) for u in far])
    best = float(like(galaxies.u[:1]))
    assert np.all(slow < best - 15)
    # components that leave out a chi squared of 0.0001 change one of chi2 by twice the root of their product
    assert np.all(np.abs(fast - slow) < 2 * np.sqrt(1e-4 * 2 * (best - slow)))


@pytest.mark.parametrize("law", ["calzetti", "two_component"])
def test_products_made_beforehand_are_those_of_spectra(law):
    sim = exact_simulator(dust=DustModel(law=law))
    templates = Templates(sim, 11.0, torch.tensor([90.0, 80.0, 70.0]), shift_kms=40.0)
    # waves: each has a different share of every part of the spectrum
    vectors = np.cos(np.outer(np.arange(12), np.linspace(0, math.pi, GRID.n_pixels))) / GRID.n_pixels
    galaxy, _ = sim.prior.sample(200, torch.Generator().manual_seed(4))
    u = sim.prior.parameters.to_unbounded(galaxy, torch.full((200,), 13.8, dtype=torch.float64))
    slow = templates(u).numpy() @ vectors.T
    fast = ProjectedTemplates(templates, Nuisances(sim).stars, vectors)(u).numpy()
    # spectra have a mean of one, and are made in single precision
    assert np.abs(fast - slow).max() < 2e-5
    assert np.sqrt(np.mean((fast - slow) ** 2)) < 3e-6


def test_chebyshev_interpolation_is_exact_for_polynomials():
    nodes = ChebyshevNodes(2.0, 5.0, 6)
    x = torch.tensor([2.0, 2.7, 3.9, 5.0], dtype=torch.float64)
    assert (nodes.weights(x) @ (nodes.nodes**5 - nodes.nodes)).tolist() == pytest.approx((x**5 - x).tolist())
    assert ChebyshevNodes(3.0, 3.0, 6).weights(x).tolist() == [[1.0]] * 4


def test_the_likelihood_does_not_depend_on_the_unit_of_the_flux(galaxies, nuisances):
    observation = galaxies.observation.rows(slice(0, 1))
    scaled = observation._replace(flux=7 * observation.flux, ivar=observation.ivar / 49)
    u = around(galaxies.u[0])
    once, again = (Likelihood(o, nuisances, u)(u[:50]) for o in (observation, scaled))
    n = int((observation.ivar > 0).sum())
    assert (again - once).numpy() == pytest.approx(-n * math.log(7), abs=1e-3)


def test_templates_are_the_simulator_without_noise():
    calm = {
        "instrument": replace(
            CALM, max_shift_kms=0.0, resolution_error=0.0, calibration_range=(1e-9, 1e-9), arm_step=0.0
        ),
        "mismatch": TemplateMismatch(amplitude_range=(1e-9, 1e-9), library_amplitude=0.0),
        "emission": EmissionModel(probability=0.0),
        "dust": DustModel(slope_range=(-0.05, -0.05)),
    }
    galaxies = exact_simulator(**calm).sample(5, seed=2)
    for row in range(5):
        age, lsf = galaxies.observation.age_of_universe[row], galaxies.observation.lsf_kms[row]
        noiseless = Templates(exact_simulator(**calm), float(age), lsf)(galaxies.u[row : row + 1].double())[0]
        assert noiseless.numpy() == pytest.approx(galaxies.noiseless[row].double().numpy(), rel=2e-4)


class OneGalaxy(Prior):
    """A prior that always gives the same galaxy."""

    def sample(self, n, generator):
        del generator
        times = torch.linspace(1.0, 12.0, 13, dtype=torch.float64).expand(n, -1)
        return GalaxyParameters(
            times, *(torch.full((n,), x, dtype=torch.float64) for x in (-0.3, 0.4, 150.0))
        ), torch.full((n,), 13.0, dtype=torch.float64)


def one_galaxy_simulator(**changes):
    parts = {
        "prior": OneGalaxy(histories()),
        "noise": NoiseModel(
            snr_range=(50.0, 50.0),
            shape_amplitude=0.0,
            spike_probability=0.0,
            full_probability=1.0,
            max_gaps=0,
            bad_pixel_probability=0.0,
            error_scatter=0.0,
        ),
        "instrument": CALM,
        "emission": EmissionModel(mask_probability=0.0),
        "mismatch": TemplateMismatch(amplitude_range=(0.01, 0.01)),
        "dust": DustModel(slope_range=(0.0, 0.0)),
    }
    return simulator(**{**parts, **changes})


def test_zero_points_are_other_ages_and_another_metallicity():
    sim = exact_simulator()
    galaxies = sim.sample(4, seed=3)
    age = float(galaxies.observation.age_of_universe[0])
    templates = Templates(sim, age, galaxies.observation.lsf_kms[0])
    parameters, ages = sim.prior.parameters, torch.full((4,), age, dtype=torch.float64)
    galaxy = parameters.to_physical(galaxies.u.double(), ages)
    # so that neither leaves its range
    galaxy = galaxy._replace(metallicity=galaxy.metallicity.clamp(-2, 0.2), times=0.2 * age + 0.8 * galaxy.times)
    u = parameters.to_unbounded(galaxy, ages)
    older = age - 1.1 * (age - galaxy.times)
    moved = galaxy._replace(metallicity=galaxy.metallicity + 0.1, times=older)
    wanted = templates(parameters.to_unbounded(moved, ages))
    found = templates.with_zero_points(older=math.log10(1.1), richer=0.1)(u)
    assert found.numpy() == pytest.approx(wanted.numpy(), rel=1e-4)


@pytest.mark.parametrize("zero_points", [(0.0, 0.0), (0.02, 0.03)])
def test_the_covariance_is_that_of_simulated_spectra(zero_points):
    sim = one_galaxy_simulator(mismatch=TemplateMismatch((0.01, 0.01), 2.0, 4, *zero_points))
    sample = sim.sample(6000, seed=4)
    complete = (sample.observation.ivar > 0).all(-1)
    flux = sample.observation.flux[complete].double().numpy()
    assert len(flux) > 4000
    nuisances = Nuisances(sim)
    sample = sample._replace(observation=sample.observation.rows(complete))
    one = sample.observation.rows(slice(0, 1))
    told = one._replace(lsf_kms=torch.full((1, 3), 200.0), flux=torch.as_tensor(flux.mean(0)).float()[None])
    like = Likelihood(told, nuisances, sample.u[:200].double())
    axes = nuisances.axes(lines_masked=False)
    assert [len(axis) for axis in axes] == [1, 5, 1, 1, 1]
    # the simulator scales every spectrum to a mean of one, which takes out the direction of the amplitude
    r = like.reference.spectrum
    scaled = np.eye(len(r)) - np.outer(r, np.ones(len(r))) / r.sum()
    k = np.mean([like.covariance.dense(nuisances.amplitudes((0, i, 0, 0, 0), axes)) for i in range(5)], axis=0)
    # redshift errors are uniform, and the Gaussian that stands for them is as high, so wider
    velocity = like.reference.derivatives[0]
    k += (math.pi / 6 - 1) * np.outer(velocity, velocity)
    expected = scaled @ k @ scaled.T
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, len(r))
    tests = {
        "single pixel": np.eye(len(r))[200],
        "neighbours": np.eye(len(r))[200] - np.eye(len(r))[201],
        "tilt": x / len(r),
        "bend": np.cos(3 * np.pi * x) / len(r),
        "halves": np.sign(x - 0.1) / len(r),
        "window": (np.abs(x - 0.3) < 0.05) / len(r),
        "random": rng.normal(size=len(r)) / len(r),
        "smooth random": np.convolve(rng.normal(size=len(r)), np.ones(9), "same") / len(r),
    }
    for name, w in tests.items():
        measured = np.var((flux - flux.mean(0)) @ w)
        # four standard errors of a variance, and what is beyond linear
        assert measured == pytest.approx(w @ expected @ w, rel=4 * math.sqrt(2 / len(flux)) + 0.03), name


def test_emission_covariance_is_that_of_simulated_emission():
    width = 2.0
    sim = one_galaxy_simulator(
        emission=EmissionModel(mask_probability=1.0, probability=1.0, width_range=(width, width))
    )
    generator = torch.Generator().manual_seed(0)
    emission = sim.emission.sample(20_000, sim._line_profiles, generator)[0].double().numpy()
    root = width * Nuisances(sim).emission
    for pixel in (50, 150, 250):
        w = np.exp(-0.5 * ((np.arange(GRID.n_pixels) - pixel) / 30.0) ** 2)
        assert np.mean((emission @ w) ** 2) == pytest.approx(np.sum((root @ w) ** 2), rel=0.03)


def test_the_velocity_of_a_galaxy_is_found():
    sim = exact_simulator(
        mismatch=TemplateMismatch(amplitude_range=(1e-6, 1e-6), library_amplitude=0.0),
        instrument=replace(CALM, arm_step=1e-6),
    )
    u = sim.sample(1, seed=8).u.double()
    flux = Templates(sim, 13.0, torch.full((3,), 200.0), shift_kms=70.0)(u).float()
    observation = Observation(flux, torch.full_like(flux, 1e8), torch.full((1, 3), 200.0), torch.tensor([13.0]))
    assert Likelihood(observation, Nuisances(sim), u).templates.shift_kms == pytest.approx(70.0, abs=2.0)


def test_a_spectrum_without_flux_is_refused(galaxies, nuisances):
    observation = galaxies.observation.rows(slice(0, 1))
    with pytest.raises(InputError, match="mean flux"):
        Likelihood(observation._replace(flux=-observation.flux), nuisances, around(galaxies.u[0]))


def test_axes_hold_their_priors():
    for axis in (uniform(0.0, 0.5, 5), log_uniform(0.1, 10.0, 4), normal(0.12, 13)):
        assert np.exp(axis.log_weights).sum() == pytest.approx(1.0)
    axis = normal(0.12, 13)
    assert np.exp(axis.log_weights) @ axis.values**2 == pytest.approx(0.12**2, rel=0.02)
    assert log_uniform(0.1, 10.0, 2).values == pytest.approx([10**-0.5, 10**0.5])


def test_exploration_finds_the_peak_and_its_surroundings():
    axes = (uniform(0.0, 1.0, 30), uniform(0.0, 1.0, 30))
    scores = explore(
        lambda n: -0.5 * ((n[0] - 22) ** 2 + (n[1] - 5) ** 2), axes, start=(3, 28), depth=2, max_nodes=900
    )
    assert max(scores, key=scores.get) == (22, 5)
    every = {(i, j) for i in range(30) for j in range(30) if (i - 22) ** 2 + (j - 5) ** 2 <= 4}
    assert every <= set(scores)
    assert len(scores) < 300


@pytest.fixture(scope="module")
def refiner():
    return Refiner(model(), exact_simulator(), budget=6000, wanted=300, fallback=False)


def test_a_density_is_the_same_in_the_coordinates_of_the_flow(refiner):
    observation = observe(spectra(1), GRID, 4.0)
    latent, proposal = LatentProposal(refiner.model, observation), AmortizedProposal(refiner.model, observation)
    z = latent.sample(300, torch.Generator().manual_seed(0))
    # the model's own density of the parameters, pulled back, is that of the coordinates
    assert latent.pull_back(proposal.log_prob)(z).tolist() == pytest.approx(latent.log_prob(z).tolist(), abs=2e-3)
    assert latent.pull_back(proposal.log_prob)(z + 1e9).tolist() == [-math.inf] * 300


def test_a_refined_posterior_is_better_than_that_of_an_untrained_model(refiner):
    spectrum = spectra(1)[0]
    posterior = refiner.model.infer(spectrum, n_samples=500, seed=3)
    refined = posterior.refine(refiner)
    record = refined.refinement
    assert len(refined) == 500
    assert record.method == "importance sampling"
    assert record.n_evaluations <= 6000
    assert record.efficiency == pytest.approx(record.effective / record.n_evaluations)
    assert np.isfinite(record.log_evidence)
    assert np.all(np.diff(refined.times, axis=1) > 0)
    observation = observe([spectrum], GRID, 4.0)
    like = refiner.likelihood(observation)
    age = torch.full((500,), posterior.age_of_universe, dtype=torch.float64)
    before, after = (
        refiner.log_posterior(
            refiner.model.parameters.to_unbounded(
                GalaxyParameters(*map(torch.from_numpy, (p.times, p.metallicity, p.a_v, p.sigma_kms))), age
            ),
            like,
        ).median()
        for p in (posterior, refined)
    )
    assert after > before + 2
    assert refined.verdict.scores["unrefined"] == pytest.approx(200 / record.effective)
    again = posterior.refine(refiner, n_samples=50)
    assert again.refinement == record
    assert len(again) == 50


def test_an_answer_of_another_model_is_refused(refiner):
    posterior = replace(refiner.model.infer(spectra(1)[0], n_samples=10), model="other")
    with pytest.raises(InputError, match="of model other"):
        posterior.refine(refiner)


def test_a_simulator_on_another_grid_is_refused():
    other = exact_simulator(grid=replace(GRID, high=6500.0))
    with pytest.raises(InputError, match="grid"):
        Refiner(model(), other)
