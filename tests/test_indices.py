"""Line-strength indices: analytic lines, a slow obvious integration, breaks, and what is known of populations."""

import numpy as np
import pytest

from sfhflow.errors import InputError
from sfhflow.indices import INDEX_NAMES, SPECTRAL_INDICES, LineIndex, measure_indices
from sfhflow.ssp import load_shipped
from sfhflow.ssp.miles import read

WAVELENGTH = np.arange(3700.0, 6500.0, 0.9)
LINES = {name: index for name, index in SPECTRAL_INDICES.items() if isinstance(index, LineIndex)}
MOLECULES = [name for name, index in LINES.items() if index.unit == "mag"]


def sloped(wavelength):
    return 2.0 + 3e-4 * (wavelength - 5000.0)


def rough(wavelength=WAVELENGTH, seed=0):
    return 1.0 + 0.1 * np.random.default_rng(seed).standard_normal(len(wavelength))


def test_a_straight_continuum_has_no_lines():
    found = measure_indices(WAVELENGTH, sloped(WAVELENGTH), LINES)
    # but for the slope within the pixels at the edges of the bands
    np.testing.assert_allclose([found[name] for name in LINES], 0.0, atol=5e-5)


@pytest.mark.parametrize("name", ["Hbeta_o", "Hbeta", "Mgb", "HdeltaA", "NaD"])
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.71])
def test_the_index_of_a_gaussian_line_is_its_equivalent_width(name, shift):
    index, wavelength = SPECTRAL_INDICES[name], WAVELENGTH + shift
    centre, sigma, width = np.mean(index.band), 2.0, 1.7
    depth = width / (np.sqrt(2 * np.pi) * sigma) * np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2)
    flux = sloped(wavelength) * (1.0 - depth)
    assert measure_indices(wavelength, flux, [name])[name] == pytest.approx(width, abs=0.002)


@pytest.mark.parametrize("name", MOLECULES)
def test_a_band_of_half_the_light_is_deep_by_that_many_magnitudes(name):
    band = SPECTRAL_INDICES[name].band
    inside = abs(WAVELENGTH - np.mean(band)) < 0.5 * np.ptp(band) + 5
    flux = sloped(WAVELENGTH) * np.where(inside, 0.5, 1.0)
    assert measure_indices(WAVELENGTH, flux, [name])[name] == pytest.approx(2.5 * np.log10(2.0), abs=1e-6)


def slow(index, wavelength, flux, n=2000):
    """Index of a spectrum that is constant over each pixel, by a sum over n points a pixel."""
    step = wavelength[1] - wavelength[0]
    fine = (wavelength[:, None] + step * ((np.arange(n) + 0.5) / n - 0.5)).ravel()
    values = np.repeat(flux, n)

    def mean(band):
        return values[(fine > band[0]) & (fine < band[1])].mean()

    blue, red = mean(index.blue), mean(index.red)
    x_blue, x_red = np.mean(index.blue), np.mean(index.red)
    inside = (fine > index.band[0]) & (fine < index.band[1])
    ratio = values[inside] / (blue + (red - blue) * (fine[inside] - x_blue) / (x_red - x_blue))
    return -2.5 * np.log10(ratio.mean()) if index.unit == "mag" else (1.0 - ratio).mean() * np.ptp(index.band)


@pytest.mark.parametrize("step", [0.9, 2.0, 4.0])
def test_parts_of_pixels_count_as_parts(step):
    wavelength = np.arange(3700.0, 6500.0, step)
    flux = rough(wavelength)
    found = measure_indices(wavelength, flux, LINES)
    expected = [slow(index, wavelength, flux) for index in LINES.values()]
    np.testing.assert_allclose([found[name] for name in LINES], expected, rtol=1e-3, atol=2e-3)


def test_a_break_is_the_ratio_of_the_flux_per_frequency():
    step = np.where(WAVELENGTH < 4000, 1.0, 1.8)
    found = measure_indices(WAVELENGTH, step / WAVELENGTH**2, ["D4000", "Dn4000"])
    assert found["D4000"] == pytest.approx(1.8, rel=1e-12)
    assert found["Dn4000"] == pytest.approx(1.8, rel=1e-3)  # the red band begins within a pixel


def test_combinations_are_those_of_their_definitions():
    flux = (
        np.abs(rough(seed=3)) - 0.6 * np.exp(-0.5 * ((WAVELENGTH - 5250) / 80) ** 2) * np.sin(WAVELENGTH / 9) ** 2
    )
    found = measure_indices(WAVELENGTH, np.tile(flux, (2, 1)))
    mgb, fe5270, fe5335 = found["Mgb"], found["Fe5270"], found["Fe5335"]
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(mgb * (0.72 * fe5270 + 0.28 * fe5335)), np.sqrt(mgb * 0.5 * (fe5270 + fe5335))
    np.testing.assert_array_equal(found["[MgFe]'"], expected[0])
    np.testing.assert_array_equal(found["[MgFe]"], expected[1])


def test_many_spectra_at_once_are_each_measured():
    flux = np.stack([[rough(seed=k + 3 * i) for k in range(3)] for i in range(2)])
    together = measure_indices(WAVELENGTH, flux)
    assert set(together) == set(INDEX_NAMES)
    for name, values in together.items():
        assert values.shape == (2, 3)
        one = measure_indices(WAVELENGTH, flux[1, 2], [name])[name]
        np.testing.assert_allclose(values[1, 2], one, rtol=1e-12)


def test_units_of_the_flux_do_not_matter():
    flux = rough()
    once, other = measure_indices(WAVELENGTH, flux), measure_indices(WAVELENGTH, 1e-17 * flux)
    np.testing.assert_allclose(list(once.values()), list(other.values()), rtol=1e-9, atol=1e-9)


def test_what_is_not_covered_has_no_value():
    wavelength = WAVELENGTH[(WAVELENGTH > 4890.0) & (WAVELENGTH < 5300.0)]
    flux = np.ones((3, len(wavelength)))
    flux[1, 300] = np.nan  # near 5160, in the bands of Mgb
    found = measure_indices(wavelength, flux)
    assert np.isnan(found["Hbeta_o"]).all()
    assert np.isnan(found["Fe5270"]).all()
    assert np.isnan(found["D4000"]).all()
    np.testing.assert_array_equal(np.isnan(found["Mgb"]), [False, True, False])


def test_mistakes_are_told():
    with pytest.raises(InputError, match="no index 'Mg_b', expected one of"):
        measure_indices(WAVELENGTH, rough(), ["Mg_b"])
    with pytest.raises(InputError, match="rising"):
        measure_indices(WAVELENGTH[::-1], rough(), ["Mgb"])
    with pytest.raises(InputError, match="pixels along the last axis"):
        measure_indices(WAVELENGTH, rough()[:-1], ["Mgb"])


def populations(library):
    return measure_indices(library.wavelength, library.flux, ["Hbeta_o", "Mgb", "Fe5270", "Dn4000"])


def check_populations(library):
    """Balmer lines fade with age after their peak, metal lines and the break grow with age and metallicity."""
    found = populations(library)
    ages, solar = library.ages_gyr, int(np.argmin(np.abs(library.metallicities)))
    later = [int(np.argmin(np.abs(ages - age))) for age in (0.5, 1.0, 2.0, 4.0, 8.0, 12.0)]
    assert np.all(np.diff(found["Hbeta_o"][later, solar]) < 0)
    assert np.all(np.diff(found["Mgb"][later, solar]) > 0)
    assert np.all(np.diff(found["Dn4000"][later, solar]) > 0)
    rich = np.flatnonzero(library.metallicities > -1.4)
    assert np.all(np.diff(found["Mgb"][later[-2], rich]) > 0)
    assert np.all(np.diff(found["Fe5270"][later[-2], rich]) > 0)
    return {name: values[later[-2], solar] for name, values in found.items()}


def test_indices_of_the_shipped_populations_are_those_of_stellar_populations():
    old = check_populations(load_shipped())
    assert 2.5 < old["Mgb"] < 4.5


def test_indices_of_miles_populations(shared_data):
    old = check_populations(read(shared_data / "ssp" / "miuscat_basti_ku1.30"))
    assert 3.0 < old["Mgb"] < 4.2
    assert 2.8 < old["Hbeta_o"] < 3.6
