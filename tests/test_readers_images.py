"""Stacks as named images, and spectra whose file holds no errors."""

import numpy as np
import pytest
from astropy.io import fits

import fake_cubes as cubes
import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import read_spectra, read_spectrum

OBSERVED = ["# wavelength in vacuum, redshift = 0.0625"]


@pytest.fixture
def galaxy():
    return fake.Galaxy()


# --- named images -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("primary", [True, False])
def test_each_row_of_the_images_is_a_stack_with_the_redshift_of_its_row(tmp_path, galaxy, primary):
    fake.write_named_images(tmp_path / "stacks.fits", galaxy, n_rows=3, primary=primary)
    spectra = read_spectra(tmp_path / "stacks.fits")
    assert [s.name for s in spectra] == ["stacks_0", "stacks_1", "stacks_2"]
    for i, spectrum in enumerate(spectra):
        np.testing.assert_allclose(spectrum.flux, (i + 1) * galaxy.flux, rtol=1e-12)
        np.testing.assert_allclose(spectrum.error, (i + 1) * galaxy.error, rtol=1e-12)
        assert spectrum.redshift == pytest.approx(fake.REDSHIFT + i / 100)
        assert (spectrum.medium, spectrum.meta["reader"]) == ("vacuum", "images")


def test_stacks_without_redshifts_ask_for_one(tmp_path, galaxy):
    fake.write_named_images(tmp_path / "stacks.fits", galaxy, n_rows=2, table=False)
    with pytest.raises(SpectrumError, match=r"spectrum 1: found no redshift .*--redshift"):
        read_spectrum(tmp_path / "stacks.fits", index=1)
    # stacks are usually in the rest frame
    assert read_spectrum(tmp_path / "stacks.fits", index=1, redshift=0.0).redshift == 0.0


def test_an_image_of_another_shape_is_refused(tmp_path, galaxy):
    fake.write_named_images(tmp_path / "a.fits", galaxy, n_rows=2)
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        hdus["IVAR"].data = hdus["IVAR"].data[:1]
    with pytest.raises(SpectrumError, match=r"IVAR has shape .* expected .* as the flux; download"):
        read_spectrum(tmp_path / "a.fits", index=1)


# --- no errors ----------------------------------------------------------------------------------------------

ERRORLESS = {
    "two columns": lambda p, g: fake.write_text(p, (g.wavelength, g.flux), comments=OBSERVED),
    "named columns": lambda p, g: fake.write_text(
        p, (g.flux, g.wavelength), comments=[*OBSERVED, "# flux wavelength"]
    ),
    "table": lambda p, g: fake.write_table(
        p, {"wave": g.wavelength, "flux": g.flux}, header={"VACUUM": True, "Z": fake.REDSHIFT}
    ),
    "image": lambda p, g: fake.write_wcs(
        p, g.flux, {"CRVAL1": 3.65, "CDELT1": 1e-4, "VACUUM": True, "Z": fake.REDSHIFT}
    ),
    "named images": lambda p, g: fake.write_named_images(p, g, drop=("IVAR",)),
}


@pytest.mark.parametrize("layout", ERRORLESS)
def test_a_file_without_errors_asks_for_them_and_takes_one_signal_to_noise_ratio(tmp_path, galaxy, layout):
    path = tmp_path / "a.fits"
    ERRORLESS[layout](path, galaxy)
    with pytest.raises(SpectrumError, match=r"a\.fits: found .* error.*expected .*--snr"):
        read_spectrum(path)
    spectrum = read_spectrum(path, snr=25)
    np.testing.assert_allclose(spectrum.error, np.median(galaxy.flux) / 25, rtol=1e-6)
    assert spectrum.snr == pytest.approx(25, rel=1e-6)
    assert "S/N = 25" in spectrum.meta["errors"]


def test_gaps_of_zero_flux_do_not_count_and_stay_masked(tmp_path, galaxy):
    galaxy.flux[:150] = 0.0
    fake.write_text(tmp_path / "a.txt", (galaxy.wavelength, galaxy.flux), comments=OBSERVED)
    spectrum = read_spectrum(tmp_path / "a.txt", snr=10)
    assert np.flatnonzero(spectrum.mask).tolist() == list(range(150))
    np.testing.assert_allclose(spectrum.error[150:], np.median(galaxy.flux[150:]) / 10, rtol=1e-6)


def test_what_the_user_says_of_the_noise_wins_over_the_file(tmp_path, galaxy):
    fake.write_sdss(tmp_path / "a.fits", galaxy)
    assert read_spectrum(tmp_path / "a.fits", snr=7).snr == pytest.approx(7, rel=1e-6)


@pytest.mark.parametrize("snr", [0, -3, np.nan, np.inf])
def test_a_senseless_signal_to_noise_ratio_is_refused(tmp_path, galaxy, snr):
    fake.write_sdss(tmp_path / "a.fits", galaxy)
    with pytest.raises(SpectrumError, match=r"--snr is .* expected a positive"):
        read_spectrum(tmp_path / "a.fits", snr=snr)


def test_a_spectrum_of_mpdaf_brings_its_variance_and_its_mask(tmp_path):
    galaxy = cubes.linear_galaxy()
    quality = (np.arange(len(galaxy.flux)) == 4).astype("u1")
    images = {"DATA": galaxy.flux, "STAT": galaxy.error**2, "DQ": quality}
    cubes.write(tmp_path / "a.fits", images, primary={"Z": 0.1}, cards={"DATA": cubes.axis(galaxy, 1)})
    spectrum = read_spectrum(tmp_path / "a.fits")
    np.testing.assert_allclose(spectrum.flux[5:], galaxy.flux[5:], rtol=1e-6)
    np.testing.assert_allclose(spectrum.error[5:], galaxy.error[5:], rtol=1e-6)
    assert np.flatnonzero(spectrum.mask).tolist() == [4]
    assert spectrum.medium == "air"
