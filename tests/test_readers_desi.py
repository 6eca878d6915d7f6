"""The reader of DESI spectra: arms, resolution matrices, many targets and their redshifts."""

import numpy as np
import pytest

import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import iter_spectra, read_spectra, read_spectrum

FWHM = 2 * np.sqrt(2 * np.log(2))


def test_desi_arms_are_joined_without_a_gap_and_averaged_where_they_overlap(tmp_path):
    fake.write_desi(tmp_path / "coadd-1.fits")
    spectrum = read_spectrum(tmp_path / "coadd-1.fits", redshift=0.1)
    np.testing.assert_allclose(np.diff(spectrum.wavelength), fake.DESI_STEP, rtol=1e-9)
    assert not spectrum.mask.any()
    for k in (0, 300, 360, 390, 500, 820, 900, len(spectrum) - 1):
        total = weighted = 0.0
        flux, error = fake.shape_at(spectrum.wavelength[k])
        for i, (start, n) in enumerate(fake.DESI_ARMS.values()):
            if start - 1e-6 <= spectrum.wavelength[k] <= start + (n - 1) * fake.DESI_STEP + 1e-6:
                weight = 1 / ((i + 1) * error) ** 2
                total += weight
                weighted += weight * (flux + (1 - i) * (i + 1) * error)
        assert spectrum.flux[k] == pytest.approx(weighted / total, rel=1e-5)
        assert spectrum.ivar[k] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("sigma_pixels", [0.9, 1.2])
def test_desi_resolution_is_the_width_of_the_resolution_matrix(tmp_path, sigma_pixels):
    fake.write_desi(tmp_path / "coadd-1.fits", sigma_pixels=sigma_pixels)
    spectrum = read_spectrum(tmp_path / "coadd-1.fits", redshift=0.1)
    fwhm_aa = spectrum.wavelength / spectrum.resolution
    np.testing.assert_allclose(fwhm_aa, FWHM * sigma_pixels * fake.DESI_STEP, rtol=2e-3)


def test_desi_redshifts_are_matched_by_target_and_not_by_row(tmp_path):
    redshifts = [0.1, 0.2, 0.3]
    ids = fake.write_desi(tmp_path / "coadd-sv1-1.fits", redshifts)
    fake.write_redrock(tmp_path / "redrock-sv1-1.fits", ids, redshifts)
    spectra = read_spectra(tmp_path / "coadd-sv1-1.fits")
    assert [s.redshift for s in spectra] == redshifts
    assert [s.name for s in spectra] == ["coadd-sv1-1_0", "coadd-sv1-1_1", "coadd-sv1-1_2"]
    assert [s.meta["target_id"] for s in spectra] == [str(i) for i in ids]
    np.testing.assert_allclose(spectra[2].flux, 3 * spectra[0].flux, rtol=1e-6)


def test_a_desi_target_without_redshift_does_not_stop_the_others(tmp_path):
    ids = fake.write_desi(tmp_path / "coadd-1.fits", [0.1, 0.2])
    fake.write_redrock(tmp_path / "zbest-1.fits", ids[:1], [0.1])
    (i, name, good), (j, _, bad) = iter_spectra(tmp_path / "coadd-1.fits")
    assert (i, name, good.redshift, j) == (0, "coadd-1_0", 0.1, 1)
    assert isinstance(bad, SpectrumError)
    assert "coadd-1.fits, spectrum 1" in str(bad)
    assert "zbest-1.fits" in str(bad)


def test_a_flagged_pixel_of_one_desi_arm_is_taken_from_the_other(tmp_path):
    fake.write_desi(tmp_path / "coadd-1.fits", mask_bit=2)
    spectrum = read_spectrum(tmp_path / "coadd-1.fits", redshift=0.1)
    k = np.argmin(abs(spectrum.wavelength - (fake.DESI_ARMS["R"][0] + 10 * fake.DESI_STEP)))
    flux, error = fake.shape_at(spectrum.wavelength[k])
    assert spectrum.flux[k] == pytest.approx(flux + error, rel=1e-5)
    assert spectrum.ivar[k] == pytest.approx(error**-2, rel=1e-5)


def test_desi_arms_that_do_not_share_a_grid_are_refused(tmp_path):
    fake.write_desi(tmp_path / "coadd-1.fits", shift=0.5)
    with pytest.raises(SpectrumError, match=r"coadd-1\.fits.*grid"):
        read_spectrum(tmp_path / "coadd-1.fits", redshift=0.1)


@pytest.mark.parametrize(
    "name", ["redrock-main-dark-27258.fits", "fastspec-main-dark-27258.fits.gz", "zbest-main-dark-27258.fits"]
)
def test_one_of_many_targets_is_selected_with_its_redshift(tmp_path, name):
    redshifts = list(np.linspace(0.05, 0.6, 60))
    ids = fake.write_desi(tmp_path / "coadd-main-dark-27258.fits", redshifts)
    fake.write_redrock(tmp_path / name, ids, redshifts)
    spectrum = read_spectrum(tmp_path / "coadd-main-dark-27258.fits", index=41)
    assert spectrum.redshift == pytest.approx(redshifts[41])
    assert spectrum.meta["target_id"] == str(ids[41])
    assert (spectrum.meta["class"], spectrum.meta["zwarning"]) == ("GALAXY", "0")
    first = read_spectrum(tmp_path / "coadd-main-dark-27258.fits", index=0)
    np.testing.assert_allclose(spectrum.flux, 42 * first.flux, rtol=1e-6)


def test_exposures_of_one_target_share_its_redshift(tmp_path):
    ids = fake.write_desi(tmp_path / "spectra-sv3-bright-1.fits", [0.1, 0.1, 0.2], repeat_first=True)
    fake.write_redrock(tmp_path / "redrock-sv3-bright-1.fits", ids[[0, 2]], [0.1, 0.2])
    spectra = read_spectra(tmp_path / "spectra-sv3-bright-1.fits")
    assert [s.redshift for s in spectra] == [0.1, 0.1, 0.2]
    assert [s.meta["target_id"] for s in spectra] == [str(ids[0]), str(ids[0]), str(ids[2])]


def test_redshifts_in_the_file_itself_come_before_those_beside_it(tmp_path):
    path = tmp_path / "coadd-1.fits"
    ids = fake.write_desi(path, [0.1, 0.2])
    fake.write_redrock(tmp_path / "redrock-1.fits", ids, [0.8, 0.9])
    fake.append_redshifts(path, ids, [0.1, 0.2])
    assert [s.redshift for s in read_spectra(path)] == [0.1, 0.2]
