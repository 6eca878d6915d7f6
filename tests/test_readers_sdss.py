"""Readers of SDSS, BOSS and SDSS-V spectra: resolution, mask bits and the variants of the layout."""

import numpy as np
import pytest

import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import read_spectrum

FWHM = 2 * np.sqrt(2 * np.log(2))


@pytest.fixture
def galaxy():
    return fake.Galaxy()


@pytest.mark.parametrize("wdisp", [0.8, 1.0, 1.3])
def test_sdss_resolution_follows_from_the_dispersion_in_pixels(tmp_path, galaxy, wdisp):
    fake.write_sdss(tmp_path / "a.fits", galaxy, wdisp=wdisp)
    # one pixel is 1e-4 dex, 69.03 km/s
    expected = 299792.458 / (FWHM * wdisp * 69.0297)
    np.testing.assert_allclose(read_spectrum(tmp_path / "a.fits").resolution, expected, rtol=2e-4)


@pytest.mark.parametrize("writer", ["sdss", "spspec"])
@pytest.mark.parametrize(
    ("bit", "is_bad"),
    [(16, False), (17, False), (18, True), (22, True), (23, True), (24, True), (27, True), (2, False)],
)
def test_sdss_mask_bits_that_condemn_a_pixel_are_obeyed_and_no_others(tmp_path, galaxy, writer, bit, is_bad):
    mask = np.zeros(fake.N_PIXELS, dtype=int)
    mask[7] = 1 << bit
    if writer == "sdss":
        fake.write_sdss(tmp_path / "a.fits", galaxy, and_mask=mask)
    else:
        fake.write_spspec(tmp_path / "a.fits", galaxy, mask=mask)
    assert np.flatnonzero(read_spectrum(tmp_path / "a.fits").mask).tolist() == ([7] if is_bad else [])


def test_the_emission_line_mark_of_old_sdss_files_is_not_a_defect(tmp_path, galaxy):
    fake.write_spspec(tmp_path / "a.fit", galaxy, mask=1 << 30)
    assert not read_spectrum(tmp_path / "a.fit").mask.any()


def test_pixels_without_error_estimate_are_masked(tmp_path, galaxy):
    galaxy.error[3:6] = 0.0
    for writer in (fake.write_sdss, fake.write_spspec, fake.write_manga):
        path = tmp_path / writer.__name__
        writer(path, galaxy)
        assert np.flatnonzero(read_spectrum(path).mask).tolist() == [3, 4, 5]


@pytest.mark.parametrize("catalogue", ["SPALL", "SPECOBJ"])
def test_spectra_of_sdss_v_differ_only_in_the_names(tmp_path, galaxy, catalogue):
    fake.write_sdss_v(tmp_path / "spec-101126-60477-27021597842679140.fits", galaxy, catalogue=catalogue)
    fake.write_sdss(tmp_path / "old.fits", galaxy, wdisp=1.1)
    (path,) = tmp_path.glob("spec-*")
    new, old = read_spectrum(path), read_spectrum(tmp_path / "old.fits")
    for name in ("wavelength", "resolution"):
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
    assert np.flatnonzero(new.mask).tolist() == [7]
    np.testing.assert_array_equal(new.flux[~new.mask], old.flux[~new.mask])
    assert new.redshift == pytest.approx(fake.REDSHIFT)
    assert (new.meta["class"], new.meta["zwarning"]) == ("GALAXY", "4")


def test_a_plate_of_many_fibres_is_not_taken_for_one_spectrum(tmp_path, galaxy):
    fake.write_spplate(tmp_path / "spPlate-0001.fits", galaxy)
    with pytest.raises(SpectrumError, match=r"spPlate-0001\.fits: found an image of shape \(20, 400\)"):
        read_spectrum(tmp_path / "spPlate-0001.fits")
