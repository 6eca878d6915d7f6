"""The encoder: weighted projection on principal components, and the features made of it."""

import numpy as np
import pytest
import torch

import toy
from sfhflow.encoder import ProjectionEncoder
from sfhflow.observation import Observation
from sfhflow.projection import principal_components

N_PIXELS, N_COMPONENTS = 120, 5


@pytest.fixture
def encoder():
    """Smooth components of falling size on a sloping mean."""
    x = torch.linspace(-1, 1, N_PIXELS)
    result = ProjectionEncoder(N_PIXELS, n_components=N_COMPONENTS, width=16, depth=1, n_context=4)
    waves = torch.stack([torch.sin((k + 2) * x + k) / (3 + 2 * k) for k in range(N_COMPONENTS)])
    result.set_components(1 + 0.3 * x, waves)
    return result


def observation(flux, error, good=None):
    good = torch.ones_like(flux, dtype=torch.bool) if good is None else good
    n = len(flux)
    return Observation(
        torch.where(good, flux, 0.0),
        torch.where(good, error**-2, 0.0),
        torch.full((n, 3), 90.0),
        torch.full((n,), 13.0),
    )


def linear_galaxies(encoder, n, *, snr, seed=0):
    """Galaxies of the linear model, with error vectors that vary with wavelength and some masked pixels."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.randn(n, N_COMPONENTS, generator=g)
    noiseless = 7.0 * (encoder.mean + truth @ encoder.components)
    error = 7.0 / snr * (0.5 + torch.rand(n, N_PIXELS, generator=g))
    good = torch.rand(n, N_PIXELS, generator=g) > 0.3
    return truth, observation(noiseless + error * torch.randn(noiseless.shape, generator=g), error, good)


def dense_projection(encoder, flux, ivar):
    """One spectrum at a time: a least-squares problem with a row for each good pixel and each prior."""
    good = ivar > 0
    # badly measured pixels count less in the scale, none counts more than the mean
    scale = abs(np.average(flux[good], weights=np.minimum(ivar[good], ivar[good].mean())))
    sigma = np.sqrt(1 / (ivar[good] * scale**2) + encoder.error_floor**2)
    basis = np.vstack([encoder.mean.numpy(), encoder.components.numpy()]).astype(float)[:, good]
    data = flux[good] / scale - encoder.mean.numpy()[good]
    design = np.vstack([(basis / sigma).T, np.eye(len(basis))])
    estimate = np.linalg.lstsq(design, np.concatenate([data / sigma, np.zeros(len(basis))]), rcond=None)[0]
    _, singular, right = np.linalg.svd(design, full_matrices=False)
    spread = np.sqrt(np.sum((right.T / singular) ** 2, axis=1))
    chi2 = np.mean(((data - estimate @ basis) / sigma) ** 2)
    return estimate[1:] / (1 + estimate[0]), spread[1:], 1 + estimate[0], chi2


@pytest.mark.parametrize("snr", [2.0, 30.0, 1000.0])
def test_the_projection_is_the_posterior_of_the_linear_gaussian_model(encoder, snr):
    _, data = linear_galaxies(encoder, 6, snr=snr)
    projection = encoder.project(data)
    for row in range(6):
        slow = dense_projection(encoder, data.flux[row].double().numpy(), data.ivar[row].double().numpy())
        for fast, expected, tolerance in zip(projection, slow, (5e-4, 1e-4, 1e-5, 1e-3), strict=True):
            np.testing.assert_allclose(fast[row].numpy(), expected, rtol=tolerance, atol=tolerance)


def test_the_posterior_of_the_coefficients_is_calibrated(encoder):
    encoder.error_floor = 0.0
    truth, data = linear_galaxies(encoder, 4000, snr=100.0)
    projection = encoder.project(data)
    pull = (projection.coefficients - truth) / projection.sigma
    # standard error of a mean is 0.016, of a standard deviation 0.011
    assert pull.mean(0).abs().max() < 0.08
    assert (pull.std(0) - 1).abs().max() < 0.06
    assert projection.chi2.mean() == pytest.approx(1 - (N_COMPONENTS + 1) / (0.7 * N_PIXELS), abs=0.02)


def test_noise_brings_the_coefficients_back_to_the_prior(encoder):
    truth, _ = linear_galaxies(encoder, 500, snr=1.0)
    sizes, sigmas = [], []
    for snr in (1e3, 1e2, 1e1, 1.0, 1e-1):
        projection = encoder.project(linear_galaxies(encoder, 500, snr=snr)[1])
        sizes.append(projection.coefficients.square().mean().sqrt().item())
        sigmas.append(projection.sigma.mean().item())
    assert np.all(np.diff(sigmas) > 0)
    assert np.all(np.diff(sizes[1:-1]) < 0)
    assert sigmas[0] < 0.2
    assert sigmas[-1] == pytest.approx(1.0, abs=0.03)
    assert sizes[0] == pytest.approx(truth.square().mean().sqrt().item(), rel=0.05)
    assert ((projection.sigma > 0) & (projection.sigma <= 1)).all()


def test_a_component_that_no_good_pixel_sees_keeps_its_prior(encoder):
    components = encoder.components.clone()
    components[-1, : N_PIXELS // 2] = 0.0
    encoder.set_components(encoder.mean, components)
    flux = (encoder.mean + 0.1 * components[0] + 2.0 * components[-1])[None]
    good = (torch.arange(N_PIXELS) < N_PIXELS // 2)[None]
    projection = encoder.project(observation(flux, 0.01 * torch.ones_like(flux), good))
    assert projection.sigma[0, -1].item() == pytest.approx(1.0, abs=1e-6)
    assert projection.coefficients[0, -1].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-8, 0.03, 1e8])
def test_the_unit_of_the_flux_does_not_matter(encoder, factor):
    _, data = linear_galaxies(encoder, 20, snr=30.0)
    scaled = data._replace(flux=data.flux * factor, ivar=data.ivar / factor**2)
    torch.testing.assert_close(encoder.features(scaled), encoder.features(data), rtol=1e-3, atol=1e-3)


def test_a_spectrum_has_the_same_features_alone_and_in_any_batch():
    network = toy.model().network
    data = toy.observations(40)
    together = network.encoder.features(data)
    alone = torch.cat([network.encoder.features(data.rows(slice(i, i + 1))) for i in range(40)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_with_double_sums_nearly_degenerate_components_do_not_see_the_batch():
    # a short window at high S/N, where many smooth components look alike
    x = torch.linspace(-1, 1, 600)
    encoder = ProjectionEncoder(600, n_components=40)
    encoder.set_components(1 + 0.1 * x, torch.stack([torch.cos(k * x) / k**1.5 for k in range(1, 41)]))
    g = torch.Generator().manual_seed(1)
    flux = encoder.mean + 0.1 * torch.randn(64, 40, generator=g) @ encoder.components
    flux += 1e-3 * torch.randn(64, 600, generator=g)
    good = ((x > -0.2) & (x < 0.2)).expand(64, -1)
    data = observation(flux, torch.full_like(flux, 1e-3), good)
    encoder.sum_dtype = torch.float64
    together = encoder.project(data)
    alone = encoder.project(data.rows(slice(5, 6)))
    torch.testing.assert_close(together.coefficients[5:6], alone.coefficients, rtol=0, atol=2e-5)
    torch.testing.assert_close(together.sigma[5:6], alone.sigma, rtol=1e-5, atol=0)
    slow = dense_projection(encoder, data.flux[5].double().numpy(), data.ivar[5].double().numpy())
    np.testing.assert_allclose(alone.coefficients[0], slow[0], atol=1e-3)
    np.testing.assert_allclose(alone.sigma[0], slow[1], rtol=1e-3)


def test_an_unknown_resolution_is_told_apart_from_every_known_one(encoder):
    _, data = linear_galaxies(encoder, 2, snr=30.0)
    unknown = encoder.features(data._replace(lsf_kms=torch.full((2, 3), torch.nan)))
    reference = encoder.features(data._replace(lsf_kms=torch.full((2, 3), 75.0)))
    assert unknown.isfinite().all()
    assert (unknown[:, -1] == 0).all()
    assert (reference[:, -1] == 1).all()


def test_absurd_spectra_have_finite_contexts():
    encoder = toy.model().network.encoder
    n_pixels = toy.GRID.n_pixels
    g = torch.Generator().manual_seed(0)
    flux = torch.stack(
        [
            torch.zeros(n_pixels),
            torch.full((n_pixels,), -5.0),
            1e4 * torch.randn(n_pixels, generator=g),
            torch.linspace(0, 1, n_pixels) ** 30,
            torch.zeros(n_pixels).index_fill(0, torch.tensor([100]), 1e6),
        ]
    )
    for level in (1e-6, 1.0, 1e6):
        context = encoder(observation(flux, level * torch.ones_like(flux)))
        assert context.isfinite().all()
    assert encoder(observation(flux, torch.ones_like(flux), torch.zeros_like(flux) > 0)).isfinite().all()
    assert encoder.encode(torch.tensor([[1e30, -1e30] * 13 + [torch.inf]])).isfinite().all()


def test_principal_components_agree_with_the_singular_value_decomposition():
    rng = np.random.default_rng(0)
    spectra = 1 + (rng.normal(size=(300, 6)) * [1, 0.5, 0.2, 0.1, 0.05, 0.02]) @ rng.normal(size=(6, 40))
    mean, components = principal_components(torch.tensor(spectra), 4)
    centred = spectra - spectra.mean(0)
    _, singular, right = np.linalg.svd(centred, full_matrices=False)
    expected = right[:4] * (singular[:4, None] / np.sqrt(len(spectra)))
    signs = np.sign(np.sum(expected * components.numpy(), axis=1, keepdims=True))
    np.testing.assert_allclose(mean, spectra.mean(0), rtol=1e-6)
    np.testing.assert_allclose(components, signs * expected, atol=1e-5)
    coefficients = np.linalg.lstsq(components.double().numpy().T, centred.T, rcond=None)[0]
    np.testing.assert_allclose(coefficients.std(axis=1), 1.0, rtol=1e-4)


def test_more_components_than_the_spectra_have_are_zero_and_harmless():
    spectra = 1 + torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) @ torch.ones(2, 30).cumsum(1)
    mean, components = principal_components(spectra, 6)
    assert components.isfinite().all()
    assert components[2:].abs().max() < 1e-5
    encoder = ProjectionEncoder(30, n_components=6)
    encoder.set_components(mean, components)
    projection = encoder.project(observation(spectra.abs() + 1, torch.full_like(spectra, 0.1)))
    torch.testing.assert_close(projection.sigma[:, 2:], torch.ones(50, 4), rtol=0, atol=1e-4)


def test_loading_weights_replaces_the_components_in_use(encoder):
    _, data = linear_galaxies(encoder, 3, snr=30.0)
    other = ProjectionEncoder(N_PIXELS, n_components=N_COMPONENTS, width=16, depth=1, n_context=4)
    other.set_components(encoder.mean, encoder.components.flip(0))
    other.project(data)
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other.features(data), encoder.features(data))


def test_standardised_features_have_zero_mean_and_unit_spread():
    encoder = toy.model().network.encoder
    data = toy.simulator().sample(1024, seed=9).observation
    scaled = (encoder.features(data) - encoder.feature_mean) / encoder.feature_std
    assert scaled.mean(0).abs().max() < 1e-3
    torch.testing.assert_close(scaled.std(0), torch.ones(scaled.shape[1]), rtol=0, atol=1e-3)
