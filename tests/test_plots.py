"""Figures show what they say: read back from the drawn artists and compared with independent numbers."""

import io
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import toy
from sfhflow import plots
from sfhflow.cosmology import age_of_universe
from sfhflow.errors import InputError, ModelError
from sfhflow.parameters import FRACTIONS
from sfhflow.parquet import Column, write_table
from sfhflow.plots.style import GREEN, RED
from sfhflow.posterior import Posterior
from sfhflow.prior import Prior
from sfhflow.prior_samples import prior_of, prior_samples
from sfhflow.sfh import QuantileSFH, TopHat
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import REASONS, Verdict

REDSHIFT = 0.1
HALPHA_VACUUM, HALPHA_AIR = 6564.61, 6562.80
WAVELENGTH = np.linspace(3900.0, 7400.0, 3000) * (1 + REDSHIFT)


def continuum(rest_wavelength):
    return 3.0 + np.sin(rest_wavelength / 300.0)


def make_spectrum(rng):
    rest = WAVELENGTH / (1 + REDSHIFT)
    line = 20 * np.exp(-0.5 * ((rest - HALPHA_VACUUM) / 2) ** 2)
    flux = continuum(rest) + line + rng.normal(0, 0.1, rest.size)
    mask = np.zeros(rest.size, dtype=bool)
    mask[[1000, *range(1500, 1520)]] = True
    return Spectrum(
        WAVELENGTH, flux, np.full(rest.size, 100.0), REDSHIFT, mask=mask, resolution=2000.0, name="galaxy"
    )


def make_posterior(*, times=None, reasons=(), n=1000):
    rng = np.random.default_rng(0)
    age = age_of_universe(REDSHIFT)
    if times is None:
        gaps = rng.dirichlet(np.full(len(FRACTIONS) + 1, 5.0), n)
        times = age * np.cumsum(gaps, axis=1)[:, :-1]
    n = len(times)
    return Posterior(
        times,
        rng.normal(0, 0.1, n),
        np.abs(rng.normal(0.3, 0.1, n)),
        rng.normal(150, 10, n),
        age,
        make_spectrum(rng),
        Verdict(not reasons, tuple(reasons), {}),
        0,
        "default",
    )


@pytest.fixture(scope="module")
def posterior():
    return make_posterior()


@pytest.fixture(scope="module")
def predictive():
    """The truth in another flux unit."""
    grid = np.linspace(4000.0, 7300.0, 2500)
    truth = 1e-17 * continuum(grid)
    return grid, 0.98 * truth, truth, 1.02 * truth


def line(ax, label):
    return next(item for item in ax.lines if item.get_label() == label).get_data()


def test_the_spectrum_is_drawn_in_rest_frame_air_over_its_median(posterior):
    x, y = line(plots.spectrum(posterior), "data")
    assert x[np.nanargmax(y)] == pytest.approx(HALPHA_AIR, abs=2.0)
    assert np.nanmedian(y) == pytest.approx(1.0)


def test_masked_pixels_are_left_out_and_shaded(posterior):
    ax = plots.spectrum(posterior)
    x, y = line(ax, "data")
    np.testing.assert_array_equal(np.isnan(y), posterior.spectrum.mask)
    shade = next(item for item in ax.collections if item.get_label() == "masked")
    inside = np.zeros(x.size, dtype=bool)
    for path in shade.get_paths():
        inside |= (x > path.vertices[:, 0].min()) & (x < path.vertices[:, 0].max())
    np.testing.assert_array_equal(inside, posterior.spectrum.mask)


def test_a_strong_line_does_not_set_the_scale(posterior):
    ax = plots.spectrum(posterior)
    _, y = line(ax, "data")
    assert ax.get_ylim()[1] < 0.5 * np.nanmax(y)


def test_a_fit_in_any_flux_unit_is_scaled_to_the_data(posterior, predictive):
    x, y = line(plots.spectrum(posterior, predictive=predictive), "fit")
    scale = np.median(posterior.spectrum.flux[~posterior.spectrum.mask])
    np.testing.assert_allclose(y * scale, continuum(x), rtol=2e-3)


def test_residuals_of_the_truth_are_standard_normal_and_leave_out_what_was_not_fitted(posterior, predictive):
    ax = plots.residuals(posterior, predictive)
    x, chi = ax.lines[0].get_data()
    assert np.isnan(chi[np.abs(x - HALPHA_AIR) < 5]).all()
    assert np.isnan(chi[posterior.spectrum.mask]).all()
    chi = chi[np.isfinite(chi)]
    assert chi.size > 2000
    # the truth is drawn at air wavelengths but made at vacuum ones: well below the noise
    assert np.mean(chi) == pytest.approx(0, abs=0.1)
    assert np.std(chi) == pytest.approx(1, abs=0.05)


def test_the_median_assembly_passes_through_the_median_formation_times(posterior):
    x, y = line(plots.mass_assembly(posterior), "median")
    for percent in (10, 50, 90):
        median = np.median(posterior.columns()[f"t{percent}"][0])
        assert np.interp(median, x, y) == pytest.approx(percent / 100, abs=0.01)


def test_redshift_ticks_stand_at_the_age_of_the_universe(posterior):
    ax = plots.mass_assembly(posterior)
    ticks = ax.child_axes[0].xaxis
    positions = dict(zip([t.get_text() for t in ticks.get_ticklabels()], ticks.get_ticklocs(), strict=True))
    assert positions["1"] == pytest.approx(age_of_universe(1.0))
    assert "0" not in positions  # this galaxy is seen at redshift 0.1


def test_lookback_and_cosmic_time_show_the_same_history(posterior):
    age = posterior.age_of_universe
    for draw in (plots.mass_assembly, plots.star_formation_rate):
        (cosmic, there), (lookback, back) = (
            line(draw(posterior, time=time), "median") for time in ("cosmic", "lookback")
        )
        np.testing.assert_allclose(cosmic, age - lookback, atol=1e-12)
        np.testing.assert_array_equal(there, back)
    with pytest.raises(InputError, match="expected 'cosmic' or 'lookback'"):
        plots.mass_assembly(posterior, time="redshift")


@pytest.mark.parametrize("draw", [plots.mass_assembly, plots.star_formation_rate])
@pytest.mark.parametrize("time", ["cosmic", "lookback"])
def test_a_redshift_tick_stands_above_the_time_that_belongs_to_it(posterior, draw, time):
    age = posterior.age_of_universe
    ax = draw(posterior, time=time)
    ax.figure.draw_without_rendering()
    (top,) = ax.child_axes
    ticks = {label.get_text(): x for label, x in zip(top.get_xticklabels(), top.get_xticks(), strict=True)}
    for redshift in ("1", "0.5", "0.2"):
        moment = age_of_universe(float(redshift))
        expected = ax.transData.transform((moment if time == "cosmic" else age - moment, 0.5))[0]
        assert top.transData.transform((ticks[redshift], 0.5))[0] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("time", ["cosmic", "lookback"])
def test_the_drawn_rate_of_a_single_history_holds_all_its_mass(time):
    times = np.linspace(1.0, 12.0, len(FRACTIONS))[None].repeat(3, axis=0)
    x, y = line(plots.star_formation_rate(make_posterior(times=times), time=time), "median")
    assert np.sum(y[:-1] * np.abs(np.diff(x))) == pytest.approx(1, rel=1e-3)


def test_the_rate_of_a_dead_galaxy_falls_out_of_sight():
    times = np.linspace(0.5, 3.0, len(FRACTIONS))[None].repeat(3, axis=0)
    ax = plots.star_formation_rate(make_posterior(times=times))
    x, y = line(ax, "median")
    assert np.all(y[x < 5] < ax.get_ylim()[0])
    assert np.all(np.isfinite(y))


def test_histograms_write_the_median_and_its_errors(posterior):
    low, middle, high = np.quantile(posterior.sigma_kms, [0.16, 0.5, 0.84])
    (ax,) = plots.histograms(posterior, ["sigma"])
    assert f"{middle:.1f}" in ax.get_title()
    assert f"+{high - middle:.1f}" in ax.get_title()
    assert f"-{middle - low:.1f}" in ax.get_title()
    assert "km" in ax.get_xlabel()


def test_a_quantity_undefined_in_all_samples_is_an_empty_histogram():
    growing = (1.0 + (age_of_universe(REDSHIFT) - 1.001) * np.array(FRACTIONS))[None].repeat(9, axis=0)
    (ax,) = plots.histograms(make_posterior(times=growing), ["quiescent_for"])
    assert ax.get_title() == ""


def test_every_quantity_has_a_label(posterior):
    names = list(posterior.columns())
    assert set(names) <= set(plots.LABELS)


@pytest.mark.parametrize("draw", [plots.histograms, plots.corner])
def test_an_unknown_quantity_is_refused_with_the_known_ones(posterior, draw):
    with pytest.raises(InputError, match=r"'t55'.*t50"):
        draw(posterior, ["t55"])


def test_corner_contours_hold_68_and_95_percent_of_the_samples():
    posterior = make_posterior(n=8000)
    ax = plots.corner(posterior, ["t50", "mh"])[1, 0]
    points = np.stack([posterior.columns()["t50"][0], posterior.metallicity], axis=1)
    outer, inner = (
        np.mean(path.contains_points(points)) for path in ax.collections[-1].get_paths() if len(path.vertices)
    )
    assert inner == pytest.approx(0.68, abs=0.03)
    assert outer == pytest.approx(0.95, abs=0.02)


def test_samples_without_spread_can_be_drawn():
    same = make_posterior(times=np.linspace(1.0, 9.0, len(FRACTIONS))[None].repeat(50, axis=0))
    figure = plots.corner(same, ["t50", "t90"])[0, 0].figure
    figure.savefig(io.BytesIO(), format="png")


def test_the_calibration_band_is_the_binomial_one():
    levels = np.linspace(0, 1, 11)
    ax = plots.coverage(levels, {"t50": levels}, n_galaxies=400)
    band = ax.collections[0].get_paths()[0].vertices
    at_half = band[np.isclose(band[:, 0], 0.5), 1]
    assert at_half.max() - at_half.min() == pytest.approx(2 * 1.96 * 0.5 / 20)


@pytest.mark.parametrize("reasons", [(), ("bad_fit",), ("made_up",), tuple(REASONS)])
def test_the_page_tells_the_verdict_in_words_and_colour(posterior, reasons):
    figure = plots.summary_figure(make_posterior(reasons=reasons, n=50))
    text = figure.texts[-1]
    assert to_hex(text.get_color()).upper() == (RED if reasons else GREEN)
    words = " ".join(text.get_text().split())
    assert ("DO NOT TRUST" in words) == bool(reasons)
    assert all(REASONS.get(name, name) in words for name in reasons)


@pytest.mark.parametrize("with_fit", [True, False])
def test_nothing_on_the_page_overlaps_or_runs_off_it(predictive, with_fit):
    posterior = make_posterior(reasons=tuple(REASONS))
    figure = plots.summary_figure(posterior, predictive if with_fit else None)
    figure.canvas.draw()
    boxes = [artist.get_tightbbox() for artist in (*figure.axes, *figure.texts)]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    # bounding boxes of neighbours may share the rounding of a point, never a line of text
    margin = 3.0
    for a, b in combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        along = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < margin or along < margin


def test_drawing_leaves_the_global_settings_alone(posterior):
    before = dict(mpl.rcParams)
    plots.summary_figure(posterior)
    assert dict(mpl.rcParams) == before


# --- prior, ranks and populations ---------------------------------------------------------------------------


def test_the_prior_beside_the_posterior_has_the_same_area_and_holds_its_own_samples(posterior):
    prior = prior_samples(posterior, Prior(QuantileSFH()), n_samples=4000)
    ax = plots.histograms(posterior, ["mh"], prior=prior)[0]
    filled, outline = (patch.get_xy() for patch in ax.patches if patch.get_label() in ("posterior", "prior"))
    areas = [0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) for x, y in (filled.T, outline.T)]
    assert areas[1] == pytest.approx(areas[0], rel=0.02)
    # [M/H] is uniform between its bounds, far beyond the posterior
    assert ax.get_xlim()[0] < Prior().parameters.metallicity.low + 0.1
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"posterior", "prior"}
    assert np.all(prior.times <= posterior.age_of_universe * (1 + 1e-9))


def test_samples_of_the_prior_scatter_as_those_that_were_trained_on(posterior):
    # a constant rate makes all these gaps equal, so what they scatter is the prior's own scatter
    prior = Prior(TopHat(duration=(3.0, 5.0)), gap_scatter=0.2)
    at_redshift, _ = prior.sample(4000, torch.Generator().manual_seed(1))
    found, expected = (
        np.log(np.diff(times[:, 1:10], axis=1)).std(axis=1).mean()
        for times in (prior_samples(posterior, prior, n_samples=4000).times, at_redshift.times.numpy())
    )
    assert found == pytest.approx(expected, rel=0.03)
    assert found > 0.1


def test_the_prior_of_a_model_is_in_its_card():
    model = toy.model()
    with pytest.raises(ModelError, match=r"does not tell the prior.*expected"):
        prior_of(model)
    model.card["config"] = {"name": "x", "library": "fastar-kroupa", "prior": {"sfh": "gp", "max_redshift": 0.2}}
    assert prior_of(model).max_redshift == 0.2


def test_ranks_are_counted_and_the_band_holds_flat_ones():
    values = (np.arange(1200) + 0.5) / 1200
    ax = plots.ranks(values, label="t50")
    assert {round(y) for y in ax.patches[-1].get_xy()[:, 1]} == {0, 100}
    band = ax.patches[0].get_bbox()
    assert (band.y0 + band.y1) / 2 == pytest.approx(100)
    assert band.height / 2 == pytest.approx(1.96 * np.sqrt(1200 * (1 / 12) * (11 / 12)))


def catalogue(n):
    rng = np.random.default_rng(0)
    sigma = rng.uniform(80, 300, n)
    age = 2 + 0.03 * sigma + rng.normal(0, 0.3, n)
    columns = {"sigma_median": sigma, "age_mw_median": age, "verdict_ok": np.arange(n) % 4 != 0}
    columns["age_mw_median"] = np.where(columns["verdict_ok"], age, 0.0)
    return columns | {"age_mw_p16": columns["age_mw_median"] - 0.3, "age_mw_p84": columns["age_mw_median"] + 0.3}


@pytest.mark.parametrize("n", [100, 4000])
def test_the_running_median_of_a_population_finds_the_relation(n):
    (ax,) = plots.population(catalogue(n), "sigma", ["age_mw"])
    x, y = line(ax, "running median")
    # the medians of x and y of a bin need not be those of one galaxy
    np.testing.assert_allclose(y, 2 + 0.03 * x, atol=0.5)
    assert ax.get_xlabel() == plots.LABELS["sigma"]
    (everything,) = plots.population(catalogue(n), "sigma", ["age_mw"], trusted=False)
    assert len(line(everything, "galaxies")[0] if n > 150 else everything.containers[0][0].get_xdata()) == n


def test_a_population_is_read_from_the_files_of_a_survey(tmp_path):
    columns = catalogue(200)
    for part in (slice(0, 120), slice(120, 200)):
        kinds = {"verdict_ok": "bool"}
        table = {name: Column(list(v[part]), kind=kinds.get(name, "float")) for name, v in columns.items()}
        write_table(tmp_path / "results" / f"shard-{part.start:05d}.parquet", table)
    (here,), (there,) = (plots.population(source, "sigma", ["age_mw"]) for source in (columns, tmp_path))
    np.testing.assert_allclose(line(there, "running median"), line(here, "running median"))
    for wrong, message in ((("mass",), "no column 'mass'.*age_mw, sigma"), (("sigma", ["mh"]), "no column 'mh'")):
        with pytest.raises(InputError, match=message):
            plots.population(tmp_path, *wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no Parquet files"):
        plots.population(tmp_path / "empty", "sigma")
    with pytest.raises(InputError, match="no galaxy with a good verdict"):
        plots.population({**columns, "verdict_ok": [False] * 200}, "sigma", ["age_mw"])
