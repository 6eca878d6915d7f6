"""The benchmark of the thesis: its library and data, our answer, exact posteriors, stacks, stages and page."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.thesis import __main__ as command
from benchmarks.thesis import best, ours, page, parameters, with_ppxf
from benchmarks.thesis.answer import Answer, Plan
from benchmarks.thesis.best import Forward
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, history_of
from benchmarks.thesis.inversion import Inversion, _reached
from benchmarks.thesis.library import LARGEST_KMS, SDSS_KMS, broadening
from benchmarks.thesis.observed import Stack, from_history, from_nine, read_stacks, residual

from sfhflow.errors import InputError
from sfhflow.sfh.quantile import history_from_times

C_KMS = 299792.458


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A run in tiny sizes with the shipped library and no one else's data."""
    folder = tmp_path_factory.mktemp("thesis")
    return Context(folder, folder / "no-data", tiny=True)


def gaussian(wavelength, centre, sigma_kms):
    return np.exp(-0.5 * ((wavelength - centre) / (sigma_kms / C_KMS * centre)) ** 2)


def test_views_of_the_library_are_exact_and_keep_white_noise_white(context):
    library = context.library()
    view = library.view("full")
    torch.testing.assert_close(view.basis @ view.basis.T, torch.eye(len(view.basis), dtype=torch.float64))
    galaxies = view.combine(torch.eye(53, dtype=torch.float64)[[0, 20, 52]], torch.tensor([-1.0, 0.0, 0.3]))
    wanted = library.ssp.interpolate(library.ssp.ages_gyr[[0, 20, 52]], [-1.0, 0.0, 0.3]) / library.ssp.flux.mean()
    np.testing.assert_allclose((galaxies @ view.basis).numpy(), wanted, rtol=2e-4, atol=1e-6 * wanted.max())


def test_broadening_adds_widths_in_quadrature():
    wavelength, new = np.arange(4800.0, 5200.0, 0.9), np.arange(4900.0, 5100.0)
    found = broadening(wavelength, new, 250.0) @ gaussian(wavelength, 5000.0, 150.0)
    width = np.hypot(250.0, 150.0)
    np.testing.assert_allclose(found, 150.0 / width * gaussian(new, 5000.0, width), atol=2e-3)


def test_the_stacks_window_has_the_resolution_of_the_widest_stack_seen_by_sdss(context):
    library = context.library()
    for at in (4200.0, 5400.0):
        sigma = np.sqrt(LARGEST_KMS**2 + SDSS_KMS**2 - library.resolution_kms(np.array([at])) ** 2)
        own = C_KMS * 2.51 / 2.3548 / at
        assert np.hypot(sigma, own)[0] == pytest.approx(np.hypot(320.0, 69.0), rel=1e-4)


def test_spectra_have_unit_medians_and_the_truth_of_their_histories(context):
    data = context.dataset("discrete")
    assert len(data) == context.n_spectra
    counts = torch.unique(data.histories.metallicity, return_counts=True)[1]
    assert counts.tolist() == [len(data) // 15] * 15
    spectra = data.spectra(slice(0, 50))
    torch.testing.assert_close(spectra.median(1).values, torch.ones(50), atol=2e-4, rtol=0)
    # formation times by looking for them in the cumulative mass
    history = history_of(data.histories.tuples[:20])
    for row in range(20):
        formed = np.concatenate([[0.0], history.mass[row].cumsum(0).numpy()])
        for percent, time in ((10, data.truth[row, 0]), (90, data.truth[row, 8])):
            at = int(np.searchsorted(formed, percent / 100))
            assert history.time_edges[row, at - 1] <= time + 1e-5
            assert time <= history.time_edges[row, at] + 1e-5


def test_the_split_is_80_10_10_and_nothing_is_in_two_parts(context):
    data = context.dataset("discrete")
    rows = np.arange(len(data))
    parts = [rows[part] for part in (data.train, data.validation, data.test)]
    assert [len(part) / len(data) for part in parts] == [0.8, 0.1, 0.1]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_the_histories_are_those_of_the_package_that_the_authors_used(shared_data):
    with np.load(shared_data / "thesis" / "gp_sfh_reference.npz") as file:
        tuples, wanted = torch.tensor(file["sfh_tuple"]), file["sfr_msun_per_yr"]
        assert file["cosmic_time_gyr"][-1] == pytest.approx(AGE_OF_UNIVERSE)
    known = wanted[:, 1:] / wanted[:, 1:].sum(1, keepdims=True)
    np.testing.assert_allclose(history_of(tuples).mass.numpy(), known, atol=1e-7)


def test_coordinates_of_an_answer_are_undone_and_always_make_possible_histories(context):
    data = context.dataset("continuous")
    answer = Answer(data, Plan(components=20))
    answer.initialise(data)
    torch.testing.assert_close(answer.quantities(answer.coordinates(data.truth)), data.truth, atol=1e-3, rtol=0)
    wild = answer.quantities(20 * torch.randn(500, 10))
    assert bool((wild[:, :9].diff(dim=1) > 0).all())
    assert bool((wild[:, 0] > 0).all())
    assert bool((wild[:, 8] < AGE_OF_UNIVERSE).all())


def test_predictions_that_are_histories_are_where_they_are_and_others_become_histories(context):
    data = context.dataset("continuous")
    answer = Answer(data, Plan(components=20))
    answer.initialise(data)
    predicted = (data.truth - answer.location) / answer.scale
    wanted = data.truth.clone()
    edge = 1e-3 * (answer.metallicity.high - answer.metallicity.low)
    wanted[:, 9].clamp_(answer.metallicity.low + edge, answer.metallicity.high - edge)
    torch.testing.assert_close(answer.quantities(answer.place(predicted)), wanted, atol=1e-3, rtol=0)
    wild = answer.place(5 * torch.randn(500, 10))
    assert bool(wild.isfinite().all())
    assert bool((answer.quantities(wild)[:, :9].diff(dim=1) > 0.01).all())


def test_noise_on_components_is_that_of_noisy_pixels(context):
    data = context.dataset("continuous")
    answer = Answer(data, Plan(noise=0.1, components=15, inversion=False))
    answer.initialise(data)
    clean = data.coefficients[:1].expand(20_000, -1)
    generator = torch.Generator().manual_seed(0)
    ours_noise = answer.features(answer.noisy(clean, generator)) - answer.features(clean)
    pixels = 0.1 * torch.randn(20_000, len(data.wavelength), generator=generator)
    noisy = (pixels @ data.basis.T) @ answer.axes
    torch.testing.assert_close(ours_noise.std(0), noisy.std(0), rtol=0.03, atol=0)
    assert float(torch.corrcoef(noisy.T).triu(1).abs().max()) < 0.04


def test_an_inversion_finds_history_and_metallicity_of_spectra_without_noise(context):
    data = context.dataset("continuous")
    found = Inversion(data, 1e-5)(data.coefficients[data.test])
    truth = data.truth[data.test]
    error = (found.metallicity - truth[:, 9]).abs()
    assert float(error.quantile(0.95)) < 2e-3
    weights = data.histories.weights[data.test].flip(1)
    formed = (weights.cumsum(1) - 0.5 * weights) / weights.sum(1, keepdim=True)
    # a few of a hundred go wrong
    rms = (found.formed - formed).square().mean(1).sqrt()
    assert float(rms.quantile(0.5)) < 0.01
    assert float(rms.quantile(0.95)) < 0.06
    apart = (found.times - truth[:, :9]).abs()
    assert float(apart.quantile(0.5)) < 0.5  # Gyr, as far as old ages are apart


def test_an_inversion_is_the_mean_of_the_linear_gaussian_posterior(context):
    data, noise = context.dataset("continuous"), 0.02
    inversion = Inversion(data, noise)
    row = data.test.start
    observed = data.coefficients[row] + noise * torch.randn(data.coefficients.shape[1])
    weights, metallicity = inversion.invert(observed[None].double())
    # the same by conditioning a joint normal distribution, over the pixels of the spectrum
    view = data.view
    ages = torch.eye(len(view.ages_gyr), dtype=torch.float64)
    design = (view.combine(ages, metallicity.expand(len(ages)))[:, : len(observed)] @ data.basis.double()).T
    covariance = torch.linalg.inv(inversion._precision)
    mean = covariance @ inversion._pull
    pixels = observed.double() @ data.basis.double()
    total = design @ covariance @ design.T + noise**2 * torch.eye(len(pixels), dtype=torch.float64)
    wanted = mean + covariance @ design.T @ torch.linalg.solve(total, pixels - design @ mean)
    torch.testing.assert_close(weights[0], wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_times_are_read_off_what_had_formed():
    formed = torch.tensor([[0.0, 0.25, 0.2, 0.75, 1.0]], dtype=torch.float64)
    times = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    found = _reached(formed, times)[0]
    # it does not fall between 1 and 2 Gyr
    torch.testing.assert_close(found[[0, 1]], torch.tensor([0.4, 0.8], dtype=torch.float64))
    torch.testing.assert_close(found[[4, 8]], torch.tensor([2.5, 3.6], dtype=torch.float64))


def test_the_five_parameters_are_standard_normal_in_the_prior_and_make_its_spectra(context):
    data = context.dataset("continuous")
    z = parameters.from_tuples(data.histories.tuples, data.histories.metallicity, data.ends)
    assert float(z.mean(0).abs().max()) < 0.12
    assert float((z.std(0) - 1).abs().max()) < 0.08
    assert float((torch.corrcoef(z.T) - torch.eye(5)).abs().max()) < 0.12
    coefficients, quantities = Forward(data, context.library())(z[:20])
    torch.testing.assert_close(coefficients, data.coefficients[:20], atol=1e-4, rtol=0)
    torch.testing.assert_close(quantities.float(), data.truth[:20], atol=1e-4, rtol=0)


def test_the_prior_of_the_specific_rate_is_that_of_two_uniform_numbers():
    rng = np.random.default_rng(0)
    drawn = torch.tensor(rng.uniform(-50, 0, 100_000) - rng.uniform(9, 12, 100_000))
    unit = parameters.specific_rate_below(drawn)
    assert np.abs(np.sort(unit.numpy()) - (np.arange(100_000) + 0.5) / 100_000).max() < 0.006
    torch.testing.assert_close(parameters.specific_rate(unit), drawn)


def test_importance_sampling_finds_a_posterior_that_many_draws_from_the_prior_find_too(context):
    data = context.dataset("continuous")
    forward = Forward(data, context.library())
    generator = torch.Generator().manual_seed(1)
    noise = 2.0  # so much that the prior is nearly as narrow
    observed = data.coefficients[-3:] + noise * torch.randn((3, data.coefficients.shape[1]), generator=generator)
    torch.manual_seed(0)
    plan = Plan(noise=noise, components=10, width=32, depth=1, inversion=False)
    answer = Answer(data, plan)
    answer.initialise(data)
    proposal = best.Proposal(answer)
    found = best.sample(
        proposal, forward, observed, noise, n_samples=1000, budget=4000, wanted=1000, generator=generator
    )
    assert float(found.effective.min()) > 200
    distance = torch.cdist(observed.double(), data.coefficients[:-3].double()) / noise
    by_distance = (-0.5 * distance**2).softmax(1)
    assert float((1 / by_distance.square().sum(1)).min()) > 100
    chosen = torch.multinomial(by_distance, 1000, replacement=True, generator=generator)
    by_hand = data.truth[:-3].double()[chosen]
    spread = data.truth.std(0).double()
    apart = found.quantities.quantile(0.5, dim=1) - by_hand.quantile(0.5, dim=1)
    assert float((apart / spread).abs().max()) < 0.35


def test_a_stack_is_broadened_to_the_widest(tmp_path):
    wavelength = np.arange(4020.0, 6001.0)
    flux = 1 - 0.3 * gaussian(wavelength, 5000.0, 125.0)
    np.savetxt(tmp_path / "stack_120_130.dat", np.column_stack([wavelength, flux, 0.01 * flux]))
    (stack,) = read_stacks(tmp_path)
    assert (stack.name, stack.sigma_kms) == ("120-130", 125.0)
    at = np.arange(4023.0, 5501.0)
    wanted = 1 - 0.3 * 125.0 / 320.0 * gaussian(at, 5000.0, 320.0)
    np.testing.assert_allclose(stack.broadened(at), wanted, atol=2e-3)
    assert read_stacks(tmp_path / "nothing") == []


def test_spectra_are_rebuilt_from_nine_populations_and_from_histories(context):
    library = context.library()
    view = library.view("full")
    ages = np.linspace(1.0, 11.0, 9)
    found = from_nine(view, ages, library.ssp.ages_gyr, -0.1)
    wanted = library.ssp.interpolate(ages, -0.1).mean(0)
    np.testing.assert_allclose(found, wanted / np.median(wanted), rtol=2e-3)
    # a history that is over in a moment is a single population
    times = 8.0 + 1e-4 * torch.arange(3, dtype=torch.float64)[None]
    burst = history_from_times(times, (0.0, 0.5, 1.0))
    no_dust = torch.zeros(1, dtype=torch.float64)
    found = from_history(view, burst, 13.0, library.ssp.ages_gyr, torch.tensor([0.1]), no_dust)[0]
    wanted = library.ssp.interpolate(5.0, 0.1)
    np.testing.assert_allclose(found, wanted / np.median(wanted), rtol=2e-3)


def test_residuals_after_polynomials_know_no_smooth_differences():
    x = np.linspace(-1, 1, 400)
    observed = 2 + np.sin(20 * x)
    np.testing.assert_allclose(residual(observed, observed / (1 + 0.1 * x - 0.05 * x**2), 15), 0, atol=2e-3)
    np.testing.assert_allclose(residual(observed, 0.9 * observed), 0.1)


def test_formation_times_of_ppxf_are_the_ages_of_its_weights():
    ages = np.arange(1.0, 13.0)
    mass = np.where(ages == 8.0, 1.0, 0.0)
    times = with_ppxf._formation_times(ages, mass, np.array([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(times, AGE_OF_UNIVERSE - np.array([8.4, 8.0, 7.6]))


@pytest.mark.slow
def test_stages_are_run_once_and_make_the_page(context, tmp_path, monkeypatch):
    for name in ("data", "ours", "noise", "calibration", "stacks"):
        first = command.run_stage(name, context)
        monkeypatch.setattr(f"benchmarks.thesis.{name}.run", None)
        assert command.run_stage(name, context) == first
    command.finish(context, private=True)
    text = (context.folder / "thesis.md").read_text()
    results = json.loads((context.folder / "results.json").read_text())
    assert results["settings"]["thesis_library"] is False
    assert f"{results['stages']['ours']['full']['discrete']['r2']['t50']:.4f}" in text
    for name in ("data-library", "ours-full-scatter", "noise-r2", "calibration-snr30"):
        assert f"](figures/{name}.png)" in text
        assert (context.folder / "figures" / f"{name}.png").stat().st_size > 2000
    assert "No stacks at hand" in text
    assert "Not measured yet: `python -m benchmarks.thesis encoder`" in text


def test_a_stage_that_needs_another_says_so(tmp_path):
    with pytest.raises(InputError, match="run that stage first"):
        Context(tmp_path, tmp_path).result("ours")


def test_a_training_learns_and_is_kept(context):
    answer, record = ours.trained(context, "full")
    history = [row["validation"] for row in record["losses"] if row["part"] == 0]
    assert history[-1] < history[0]
    again = ours.trained(context, "full")[0]
    for name, weights in answer.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), name


@pytest.mark.skipif(not page.RESULTS.exists(), reason="the benchmark has not been run")
def test_the_page_is_what_the_results_say_and_its_figures_are_there():
    text = page.page(json.loads(page.RESULTS.read_text()))
    assert page.PAGE.read_text() == text
    figures = [line.rpartition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert figures
    assert all((Path(page.PAGE).parent / name).exists() for name in figures)


def test_stacks_need_dispersions_in_their_names(tmp_path):
    (tmp_path / "notes.dat").write_text("no stack")
    assert read_stacks(tmp_path) == []
    assert Stack(tmp_path, 100, 110, np.ones(2), np.ones(2)).name == "100-110"
