"""Spectra from memory: arrays as pPXF takes them, and objects with the attributes of specutils' spectra."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty

import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import from_arrays, from_specutils, read_spectrum

FLAM = u.Unit("1e-17 erg / (s cm2 Angstrom)")


@pytest.fixture
def galaxy():
    return fake.Galaxy()


def arrays(galaxy, **changed):
    given = {"redshift": 0.1, "medium": "air"} | changed
    values = [given.pop(key, getattr(galaxy, key)) for key in ("wavelength", "flux", "error")]
    return from_arrays(*values, **given)


def like_specutils(galaxy, **changed):
    """Make an object with what `from_specutils` looks at."""
    given = {
        "spectral_axis": galaxy.wavelength * u.AA,
        "flux": galaxy.flux * FLAM,
        "uncertainty": StdDevUncertainty(galaxy.error * FLAM),
        "mask": None,
        "redshift": 0.0625 * u.dimensionless_unscaled,
    }
    return SimpleNamespace(**given | changed)


# --- arrays -------------------------------------------------------------------------------------------------


def test_arrays_give_the_same_spectrum_as_a_file_of_them(tmp_path, galaxy):
    table = {"wave": galaxy.wavelength, "flux": galaxy.flux, "err": galaxy.error}
    fake.write_table(tmp_path / "a.fits", table, header={"VACUUM": True, "Z": 0.1})
    read, made = read_spectrum(tmp_path / "a.fits", fwhm=2.5), arrays(galaxy, medium="vacuum", fwhm=2.5, name="a")
    for name in ("wavelength", "flux", "ivar", "mask", "resolution"):
        np.testing.assert_allclose(getattr(made, name), getattr(read, name), rtol=1e-14)
    assert (made.redshift, made.medium, made.name) == (read.redshift, read.medium, read.name)
    assert made.meta["reader"] == "arrays"


def test_good_pixels_are_counted_in_the_given_order(galaxy):
    backwards = {key: getattr(galaxy, key)[::-1] for key in ("wavelength", "flux", "error")}
    spectrum = arrays(galaxy, **backwards, good_pixels=np.arange(3, fake.N_PIXELS))
    assert np.flatnonzero(spectrum.mask).tolist() == [397, 398, 399]
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength)


def test_mask_and_good_pixels_add_up(galaxy):
    spectrum = arrays(galaxy, mask=np.arange(fake.N_PIXELS) == 9, good_pixels=np.arange(2, fake.N_PIXELS))
    assert np.flatnonzero(spectrum.mask).tolist() == [0, 1, 9]


def test_one_noise_serves_all_pixels_and_the_width_may_vary(galaxy):
    fwhm = np.linspace(2, 3, fake.N_PIXELS)
    spectrum = arrays(galaxy, error=0.5, fwhm=fwhm)
    assert np.all(spectrum.error == 0.5)
    np.testing.assert_allclose(spectrum.wavelength / spectrum.resolution, fwhm)


@pytest.mark.parametrize(
    ("changed", "cure"),
    [
        ({"wavelength": np.log(fake.Galaxy().wavelength)}, "convert nm"),
        ({"flux": np.ones((2, 400))}, "select one spectrum"),
        ({"flux": ["a"] * 400}, "convert it"),
        ({"flux": np.ones(399)}, "one value per pixel"),
        ({"error": -np.ones(400)}, "set the error"),
        ({"error": np.zeros(400)}, "check the mask"),
        ({"redshift": None}, "--redshift"),
        ({"redshift": "0.1"}, "--redshift"),
        ({"medium": "water"}, "--medium"),
        ({"good_pixels": np.arange(401)}, "give a mask instead"),
        ({"good_pixels": np.ones(400, bool)}, "give a mask instead"),
        ({"mask": np.zeros(3, bool)}, "one value per pixel"),
        ({"resolution": 2000.0, "fwhm": 2.0}, "drop one"),
        ({"resolution": [1.0, 2.0]}, "one value per pixel"),
    ],
)
def test_arrays_that_are_no_spectrum_are_refused_with_a_cure(galaxy, changed, cure):
    with pytest.raises(SpectrumError, match=cure) as caught:
        arrays(galaxy, name="mine", **changed)
    assert str(caught.value).startswith("mine")


# --- specutils ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty, InverseVariance])
@pytest.mark.parametrize("with_unit", [True, False])
def test_every_kind_of_uncertainty_means_the_same(galaxy, kind, with_unit):
    power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[kind]
    values = galaxy.error**power
    uncertainty = kind(values * FLAM**power if with_unit else values)
    made = from_specutils(like_specutils(galaxy, uncertainty=uncertainty), medium="vacuum")
    np.testing.assert_allclose(made.error, galaxy.error, rtol=1e-10)
    np.testing.assert_allclose(made.flux, galaxy.flux)
    assert (made.redshift, made.medium, made.meta["reader"]) == (0.0625, "vacuum", "specutils")
    assert u.Unit(made.flux_unit) == FLAM


@pytest.mark.parametrize("unit", ["nm", "um", "GHz", "eV"])
def test_the_spectral_axis_may_be_in_any_unit(galaxy, unit):
    axis = (galaxy.wavelength * u.AA).to(unit, u.spectral())
    made = from_specutils(like_specutils(galaxy, spectral_axis=axis), medium="vacuum")
    np.testing.assert_allclose(made.wavelength, galaxy.wavelength, rtol=1e-12)
    np.testing.assert_allclose(made.flux, galaxy.flux)


def test_a_flux_per_frequency_becomes_one_per_wavelength(galaxy):
    density = u.spectral_density(galaxy.wavelength * u.AA)
    flux, error = ((values * FLAM).to(u.mJy, density) for values in (galaxy.flux, galaxy.error))
    made = from_specutils(like_specutils(galaxy, flux=flux, uncertainty=StdDevUncertainty(error)), medium="vacuum")
    np.testing.assert_allclose(made.flux * u.Unit(made.flux_unit).to(FLAM), galaxy.flux, rtol=1e-10)
    np.testing.assert_allclose(made.flux / made.error, galaxy.flux / galaxy.error, rtol=1e-10)


def test_an_error_in_another_unit_than_the_flux_is_converted(galaxy):
    other = u.Unit("erg / (s cm2 Angstrom)")
    uncertainty = StdDevUncertainty((galaxy.error * FLAM).to(other))
    made = from_specutils(like_specutils(galaxy, uncertainty=uncertainty), medium="vacuum")
    np.testing.assert_allclose(made.error, galaxy.error, rtol=1e-10)


def test_nonzero_mask_and_zero_error_are_bad(galaxy):
    galaxy.error[7] = 0
    mask = np.where(np.arange(fake.N_PIXELS) == 3, 1 << 24, 0)
    made = from_specutils(
        like_specutils(galaxy, mask=mask, uncertainty=StdDevUncertainty(galaxy.error)), medium="vacuum"
    )
    assert np.flatnonzero(made.mask).tolist() == [3, 7]


def test_what_the_user_says_wins(galaxy):
    made = from_specutils(like_specutils(galaxy), medium="air", redshift=0.0, resolution=900.0, name="star")
    assert (made.redshift, made.medium, made.name) == (0.0, "air", "star")
    assert np.all(made.resolution == 900)


@pytest.mark.parametrize(
    ("changed", "cure"),
    [
        ({"uncertainty": None}, "uncertainty=StdDevUncertainty"),
        ({"uncertainty": UnknownUncertainty(np.ones(400))}, "uncertainty=StdDevUncertainty"),
        ({"uncertainty": StdDevUncertainty(-np.ones(400))}, "set those without information"),
        ({"flux": np.ones((3, 400)) * FLAM}, r"spectrum\[0\]"),
        ({"flux": np.ones(400) * u.ABmag}, "convert magnitudes"),
        ({"spectral_axis": np.arange(400) * u.km / u.s}, "convert it to Angstrom"),
        ({"redshift": 0.0}, r"redshift=\.\.\."),
        ({"spectral_axis": np.linspace(380, 920, 400) * u.AA}, "convert nm"),
    ],
)
def test_spectra_of_specutils_that_cannot_be_used_are_refused_with_a_cure(galaxy, changed, cure):
    with pytest.raises(SpectrumError, match=cure) as caught:
        from_specutils(like_specutils(galaxy, **changed), medium="vacuum", name="mine")
    assert str(caught.value).startswith("mine")


def test_something_else_is_not_a_spectrum_of_specutils():
    with pytest.raises(SpectrumError, match=r"type dict without spectral_axis.*use from_arrays"):
        from_specutils({"flux": [1]}, medium="air")


def test_an_uncertainty_in_a_foreign_unit_is_refused(galaxy):
    theirs = like_specutils(galaxy, uncertainty=StdDevUncertainty(galaxy.error * u.Jy))
    with pytest.raises(SpectrumError, match="the uncertainty is in Jy, expected the unit of the flux"):
        from_specutils(theirs, medium="vacuum")
