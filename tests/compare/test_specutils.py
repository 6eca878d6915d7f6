"""Wavelengths, fluxes and errors are those that specutils' own loaders find in the same files."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty

import fake_files as fake
from sfhflow.readers import from_specutils, read_spectra, read_spectrum

specutils = pytest.importorskip("specutils", reason="specutils, whose loaders are compared with, is not installed")

SDSS = [
    "spec-0403-51871-0462.fits",
    "spec-0266-51602-0001.fits",
    "spec-1014-52707-0584.fits",
    "spec-2101-53858-0220.fits",
    "spec-4055-55359-0006.fits",
]
OLD_SDSS = "spSpec-52143-0650-180.fit"


def load(path, layout, kind=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (kind or specutils.Spectrum).read(path, format=layout)


def inverse_variance(theirs):
    with np.errstate(divide="ignore"):
        return theirs.uncertainty.represent_as(InverseVariance).array


def assert_same_values(ours, theirs, *, rtol=1e-6):
    """Compare fluxes, errors and masks; they mask more, since they obey every bit."""
    good, ivar = ~ours.mask, inverse_variance(theirs)
    np.testing.assert_allclose(ours.flux[good], theirs.flux.value[good], rtol=rtol)
    np.testing.assert_allclose(ours.ivar[good], ivar[good], rtol=rtol)
    assert not np.any(ours.mask & ~np.asarray(theirs.mask) & (ivar > 0) & np.isfinite(ivar))


@pytest.mark.parametrize("name", SDSS)
def test_sdss_spectra_are_the_same(shared_data, name):
    path = shared_data / "galaxies" / name
    ours, theirs = read_spectrum(path), load(path, "SDSS-III/IV spec")
    # they compute the wavelengths in single precision
    np.testing.assert_allclose(ours.wavelength, theirs.spectral_axis.to_value("Angstrom"), rtol=1e-6)
    assert_same_values(ours, theirs)


def line_centre(spectrum, guess_aa, sigma_aa):
    """Return the centre of a Gaussian of known width plus a constant, by trying them all."""
    near = abs(spectrum.wavelength - guess_aa) < 4 * sigma_aa
    wavelength, weight = spectrum.wavelength[near], np.sqrt(spectrum.ivar[near])

    def chi_square(centre):
        shape = np.exp(-0.5 * ((wavelength - centre) / sigma_aa) ** 2)
        model = np.stack([shape, np.ones_like(shape)], axis=1) * weight[:, None]
        return np.linalg.lstsq(model, spectrum.flux[near] * weight, rcond=None)[1][0]

    centres = guess_aa + np.arange(-3, 3, 0.02)
    return centres[np.argmin([chi_square(centre) for centre in centres])]


def test_old_sdss_spectra_are_the_same_but_for_a_pixel_in_which_the_survey_agrees_with_us(shared_data):
    path = shared_data / "galaxies" / OLD_SDSS
    ours, theirs = read_spectrum(path), load(path, "SDSS-I/II spSpec")
    assert_same_values(ours, theirs)
    # specutils (2.4) counts pixels from 1 where the survey counts from 0
    shifted = theirs.spectral_axis.to_value("Angstrom")
    if abs(shifted[0] / ours.wavelength[0] - 1) > 1e-5:
        np.testing.assert_allclose(ours.wavelength[1:], shifted[:-1], rtol=1e-7)
    # the survey's own centres of Ca H, H delta, H beta and Na D; a pixel is 1 Angstrom and more
    lines = fits.getdata(path, 2)
    for rest_aa in (3969.588, 4102.89, 4862.68, 5895.6):
        row = lines[np.argmin(abs(lines["restWave"] - rest_aa))]
        assert line_centre(ours, row["wave"], row["sigma"]) == pytest.approx(row["wave"], abs=0.15)


def test_desi_arms_are_the_same_where_they_do_not_overlap(shared_data):
    path = shared_data / "galaxies" / "coadd-4-80613-thru20210324.fits"
    ours, arms = read_spectrum(path), load(path, "DESI coadd", specutils.SpectrumList)
    assert len(arms) == 3
    ends = [arm.spectral_axis.to_value("Angstrom")[[0, -1]] for arm in arms]
    for arm in arms:
        wavelength = arm.spectral_axis.to_value("Angstrom")
        alone = [sum(low <= w <= high for low, high in ends) == 1 for w in wavelength]
        place = np.searchsorted(ours.wavelength, wavelength - 0.01)
        np.testing.assert_allclose(ours.wavelength[place], wavelength, rtol=1e-8)
        used = np.array(alone) & ~ours.mask[place]
        assert used.sum() > 2000
        np.testing.assert_allclose(ours.flux[place][used], np.ravel(arm.flux.value)[used], rtol=1e-6)
        np.testing.assert_allclose(ours.ivar[place][used], np.ravel(inverse_variance(arm))[used], rtol=1e-6)


def test_manga_cubes_are_the_same(tmp_path):
    galaxy = fake.Galaxy()
    path = tmp_path / "manga-1-1-LOGCUBE.fits"
    fake.write_manga_cube(path, galaxy)
    kinds, units = ("RA---TAN", "DEC--TAN", "WAVE-LOG"), ("deg", "deg", "Angstrom")
    start = galaxy.wavelength[0]
    values, steps = (10.0, 20.0, start), (-1e-4, 1e-4, start * 1e-4 * np.log(10))
    with fits.open(path, mode="update") as hdus:
        for i, cards in enumerate(zip(kinds, units, values, steps, strict=True), 1):
            keys = (f"CTYPE{i}", f"CUNIT{i}", f"CRVAL{i}", f"CD{i}_{i}")
            hdus["FLUX"].header.update({f"CRPIX{i}": 1.0, **dict(zip(keys, cards, strict=True))})
    theirs = load(path, "MaNGA cube")
    for ours in read_spectra(path, redshift=0.02):
        y, x = divmod(int(ours.name.rsplit("_", 1)[1]), 3)
        np.testing.assert_allclose(ours.wavelength, theirs.spectral_axis.to_value("Angstrom"), rtol=1e-6)
        np.testing.assert_array_equal(ours.flux, theirs.flux.value[:, y, x])
        np.testing.assert_array_equal(ours.ivar, inverse_variance(theirs)[:, y, x])
        np.testing.assert_array_equal(ours.mask, theirs.mask[:, y, x])


def test_a_spectrum_of_specutils_becomes_the_one_that_we_read(shared_data):
    path = shared_data / "galaxies" / SDSS[0]
    ours, theirs = read_spectrum(path), load(path, "SDSS-III/IV spec")
    made = from_specutils(theirs, medium="vacuum", redshift=ours.redshift, name=ours.name)
    both = ~made.mask & ~ours.mask
    np.testing.assert_array_equal(both, ~made.mask)
    np.testing.assert_allclose(made.flux[both], ours.flux[both], rtol=1e-6)
    np.testing.assert_allclose(made.ivar[both], ours.ivar[both], rtol=1e-6)
    assert made.redshift == ours.redshift


def test_the_redshift_of_a_specutils_spectrum_is_used():
    galaxy = fake.Galaxy()
    theirs = specutils.Spectrum(
        spectral_axis=galaxy.wavelength * u.AA,
        flux=galaxy.flux * u.Jy,
        uncertainty=StdDevUncertainty(galaxy.error),
        redshift=0.07,
    )
    assert from_specutils(theirs, medium="air").redshift == pytest.approx(0.07)
