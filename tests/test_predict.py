"""Posterior prediction: the truth predicts the data it made, and calibration errors are taken out."""

from dataclasses import replace

import numpy as np
import pytest

from sfhflow.cosmology import age_of_universe
from sfhflow.galaxy import StellarPopulations
from sfhflow.grid import LogGrid
from sfhflow.parameters import FRACTIONS
from sfhflow.posterior import Posterior
from sfhflow.predict import predict
from sfhflow.spectrum import Spectrum
from sfhflow.ssp import load_shipped
from sfhflow.verdict import Verdict

LIBRARY = load_shipped("fastar-kroupa")
GRID = LogGrid()
AGE = float(age_of_universe(0.0))
SIGMA_KMS = 200.0


@pytest.fixture(scope="module")
def populations():
    return StellarPopulations(LIBRARY, GRID, tolerance=1e-3)


def old_galaxy_times(n):
    """Formed at a constant rate between 1 and 3 Gyr."""
    return np.tile(1.0 + 2.0 * np.array(FRACTIONS), (n, 1))


def direct_spectrum(metallicity):
    """Average SSP over the lookback times, convolved on the library's own pixels by a plain sum."""
    lookback = AGE - np.linspace(1.0, 3.0, 81)
    weight = np.full(81, 1.0)
    weight[[0, -1]] = 0.5
    flux = np.average(LIBRARY.interpolate(lookback, np.full(81, metallicity)), axis=0, weights=weight)
    log_wavelength = np.log(LIBRARY.wavelength)
    sigma = SIGMA_KMS / 299_792.458
    inner = slice(60, -60)
    kernel = np.exp(-0.5 * ((log_wavelength[inner, None] - log_wavelength) / sigma) ** 2) * np.gradient(
        log_wavelength
    )
    return LIBRARY.wavelength[inner], kernel @ flux / kernel.sum(1)


def posterior_of(wavelength, flux, *, metallicity=0.0, n=5):
    resolution = wavelength / float(np.mean(LIBRARY.fwhm))
    spectrum = Spectrum(
        wavelength,
        flux,
        np.full(len(flux), (100 / flux.mean()) ** 2),
        redshift=0.0,
        resolution=resolution,
        medium="air",
    )
    columns = [np.full(n, value) for value in (metallicity, 0.0, SIGMA_KMS)]
    verdict = Verdict(ok=True, reasons=(), scores={})
    return Posterior(old_galaxy_times(n), *columns, AGE, spectrum, verdict, 0, "truth")


def misfit(posterior, predictive):
    """Rms of prediction over data minus one, away from the ends."""
    inside = slice(100, -100)
    spectrum = posterior.spectrum
    data = np.interp(predictive.wavelength, spectrum.wavelength, spectrum.flux)
    ratio = (predictive.median / data)[inside]
    return np.std(ratio / ratio.mean())


def test_true_parameters_predict_a_spectrum_made_by_a_plain_sum(populations):
    posterior = posterior_of(*direct_spectrum(0.0))
    predictive = predict(posterior, populations, library_fwhm=float(np.mean(LIBRARY.fwhm)))
    assert misfit(posterior, predictive) < 2e-3
    # all samples are the same, so the band has no width
    np.testing.assert_allclose(predictive.low, predictive.high, rtol=1e-6)


def test_a_wrong_metallicity_does_not(populations):
    wavelength, flux = direct_spectrum(0.0)
    wrong = posterior_of(wavelength, flux, metallicity=-1.0)
    assert misfit(wrong, predict(wrong, populations, library_fwhm=2.51)) > 1e-2


def test_a_smooth_calibration_error_is_taken_out(populations):
    wavelength, flux = direct_spectrum(0.0)
    x = np.linspace(-1, 1, len(wavelength))
    posterior = posterior_of(wavelength, flux * np.exp(0.05 * x + 0.03 * x**2))
    assert misfit(posterior, predict(posterior, populations, library_fwhm=2.51)) < 3e-3


def test_samples_that_differ_give_a_band_around_the_median(populations):
    posterior = posterior_of(*direct_spectrum(0.0), n=50)
    spread = replace(posterior, metallicity=np.linspace(-0.3, 0.3, 50))
    predictive = predict(spread, populations, library_fwhm=2.51)
    assert np.all(predictive.low <= predictive.median)
    assert np.all(predictive.median <= predictive.high)
    # the iron and magnesium lines around 5200 Angstrom react more than the continuum at 6050
    width = (predictive.high - predictive.low) / predictive.median
    near = [np.abs(predictive.wavelength - centre) < 15 for centre in (5175.0, 6050.0)]
    assert width[near[0]].mean() > 2 * width[near[1]].mean()


def test_an_unknown_resolution_is_taken_as_typical(populations):
    known = posterior_of(*direct_spectrum(0.0))
    unknown = replace(known, spectrum=replace(known.spectrum, resolution=None))
    predictive = predict(unknown, populations, library_fwhm=2.51)
    assert np.all(np.isfinite(predictive.median))


def test_beyond_the_data_the_calibration_curve_is_held(populations):
    """A polynomial of order eight, continued over half of the grid, would reach any number."""
    wavelength, flux = direct_spectrum(0.0)
    whole = posterior_of(wavelength, flux)
    rng = np.random.default_rng(0)
    short = (wavelength > 5500) & (wavelength < 6000)
    noisy = flux[short] * (1 + 0.1 * rng.standard_normal(short.sum()))
    cut = posterior_of(wavelength[short], noisy)
    with np.errstate(over="raise", invalid="raise"):
        wide, narrow = (predict(p, populations, library_fwhm=float(np.mean(LIBRARY.fwhm))) for p in (whole, cut))
    assert np.all(np.isfinite(narrow.median))
    # as good as the noise and the end of the curve allow, and of the true shape
    ratio = (narrow.median / wide.median)[wide.wavelength < 5500]
    assert ratio.max() / ratio.min() == pytest.approx(1.0, abs=0.02)
