"""Figures: data with the fit, the history, single quantities, calibration, many galaxies, encoders, a page of all.

Every function draws into the `Axes` it is given, or into a new figure of one journal column (88 mm), and returns
the `Axes`; its figure is ``ax.figure``.  No state of pyplot is touched, so figures can be made in threads and
servers.
"""

from sfhflow.plots.agreement import formation_percentiles, learning_curves, predicted_true
from sfhflow.plots.calibration import coverage, random_points, rank_histogram, ranks
from sfhflow.plots.certificate import certificate_figure, coverage_in_bins, widths
from sfhflow.plots.histories import mass_assembly, star_formation_rate
from sfhflow.plots.latents import correlation_matrix, embedding, flux_correlation
from sfhflow.plots.page import summary_figure
from sfhflow.plots.populations import population
from sfhflow.plots.quantities import LABELS, corner, histograms
from sfhflow.plots.spectra import Predictive, residuals, spectrum

__all__ = [
    "LABELS",
    "Predictive",
    "certificate_figure",
    "corner",
    "correlation_matrix",
    "coverage",
    "coverage_in_bins",
    "embedding",
    "flux_correlation",
    "formation_percentiles",
    "histograms",
    "learning_curves",
    "mass_assembly",
    "population",
    "predicted_true",
    "random_points",
    "rank_histogram",
    "ranks",
    "residuals",
    "spectrum",
    "star_formation_rate",
    "summary_figure",
    "widths",
]
