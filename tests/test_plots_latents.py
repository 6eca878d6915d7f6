"""Figures of encoders and of answers against the truth, read back from what was drawn."""

import io

import numpy as np
import pytest
from matplotlib.image import AxesImage

from sfhflow import plots
from sfhflow.errors import InputError

RNG = np.random.default_rng(0)


def curves_of(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def drawn(ax):
    """Whether the figure can be made, and its labels."""
    ax.figure.savefig(io.BytesIO())
    return ax.get_xlabel(), ax.get_ylabel()


def test_a_correlation_matrix_shows_its_numbers_on_a_scale_that_ends_at_one():
    matrix = np.corrcoef(RNG.standard_normal((4, 50)))
    ax = plots.correlation_matrix(matrix)
    image = next(child for child in ax.get_children() if isinstance(child, AxesImage))
    np.testing.assert_allclose(np.asarray(image.get_array()), matrix)
    assert image.get_clim() == (-1, 1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    assert drawn(ax) == ("latent", "latent")
    with pytest.raises(InputError, match="square"):
        plots.correlation_matrix(matrix[:3])


def test_correlation_with_flux_is_drawn_without_sign_and_lines_in_range_are_marked():
    wavelength, r = np.linspace(4000, 5000, 30), RNG.uniform(-1, 1, 30)
    ax = plots.flux_correlation(wavelength, r, lines={"Hβ": 4861.3, "Hα": 6562.8}, label="latent 1, flux")
    xs = [line.get_xdata() for line in ax.get_lines()]
    assert [x[0] for x in xs if len(x) == 2] == [4861.3]
    np.testing.assert_allclose(ax.get_lines()[-1].get_ydata(), np.abs(r))
    assert [text.get_text() for text in ax.texts] == ["Hβ"]
    assert "[Å]" in drawn(ax)[0]
    # the name stands above the frame, where nothing clips it
    assert ax.texts[0].get_window_extent().y0 > ax.get_window_extent().y1
    assert not ax.texts[0].get_clip_on()
    unnamed = plots.flux_correlation(wavelength, r, lines={"Hβ": 4861.3}, names=False)
    assert not unnamed.texts
    assert len(unnamed.get_lines()) == 2


def test_a_map_has_a_point_for_each_galaxy_whose_value_is_known():
    points, values = RNG.standard_normal((20, 2)), RNG.standard_normal(20)
    values[3] = np.nan
    ax = plots.embedding(points, values, label="$t_{90}$ [Gyr]")
    known = np.isfinite(values)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), points[known])
    np.testing.assert_allclose(ax.collections[0].get_array(), values[known])
    assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["$t_{90}$ [Gyr]"]
    drawn(ax)


def test_estimates_are_drawn_against_the_truth_with_their_r2():
    truth = RNG.uniform(1, 13, 200)
    estimate = truth + RNG.normal(0, 1, 200)
    ax = plots.predicted_true(estimate, truth, name="t50")
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), np.stack([truth, estimate], 1))
    share = np.corrcoef(truth, estimate)[0, 1] ** 2
    assert float(ax.texts[0].get_text().split("= ")[1]) == pytest.approx(share, abs=0.02)
    assert ax.get_xlim() == ax.get_ylim()
    assert drawn(ax) == ("true $t_{50}$ [Gyr]", "estimated $t_{50}$ [Gyr]")


def test_formation_times_have_bands_of_68_and_95_percent():
    times = np.sort(RNG.normal(5, 1, (4000, 9)) + np.linspace(0, 6, 9), axis=1)
    ax = plots.formation_percentiles(times, truth=np.linspace(5, 11, 9), age_gyr=13.5)
    curves = curves_of(ax)
    np.testing.assert_allclose(curves["median"], np.stack([np.median(times, 0), np.arange(10, 91, 10)], 1))
    np.testing.assert_allclose(curves["truth"][:, 0], np.linspace(5, 11, 9))
    widths = [np.ptp(band.get_paths()[0].vertices[:, 0]) for band in ax.collections]
    assert widths[0] > widths[1]
    vertices = ax.collections[1].get_paths()[0].vertices
    at_half = vertices[vertices[:, 1] == 50][:, 0]
    np.testing.assert_allclose([at_half.min(), at_half.max()], np.quantile(times[:, 4], [0.16, 0.84]))
    assert ax.get_xlim() == (0, 13.5)
    assert drawn(ax) == ("cosmic time [Gyr]", "mass formed [%]")


def test_losses_that_fall_far_are_on_a_logarithmic_scale():
    flat = plots.learning_curves([1, 2, 3], {"training": [2.0, 1.5, 1.2]})
    steep = plots.learning_curves([1, 2, 3], {"training": [2.0, 0.5, 0.1], "validation": [2.0, 0.6, 0.2]})
    assert (flat.get_yscale(), steep.get_yscale()) == ("linear", "log")
    np.testing.assert_allclose(curves_of(steep)["validation"][:, 1], [2.0, 0.6, 0.2])
    assert drawn(steep) == ("epoch", "loss")


def test_a_corner_plot_takes_samples_by_name_and_marks_the_truth():
    samples = {"t50": RNG.normal(5, 1, 500), "mh": RNG.normal(0, 0.1, 500)}
    axes = plots.corner(samples, ("t50", "mh"), truth={"t50": 4.5, "mh": 0.05})
    drawn(axes[1, 0])
    below = axes[1, 0].get_lines()
    assert [line.get_xdata()[0] for line in below if len(set(line.get_xdata())) == 1] == [4.5]
    assert [line.get_ydata()[0] for line in below if len(set(line.get_ydata())) == 1] == [0.05]
    assert 0.05 in [line.get_xdata()[0] for line in axes[1, 1].get_lines()]
    with pytest.raises(InputError, match="no quantity 't90'"):
        plots.corner(samples, ("t90",))
