"""Readers of integral-field units: rows, cubes and bins of MaNGA, CALIFA, MUSE and WEAVE."""

import numpy as np
import pytest
from astropy.io import fits

import fake_cubes as cubes
import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import iter_spectra, read_spectra, read_spectrum

FWHM = 2 * np.sqrt(2 * np.log(2))


@pytest.fixture
def galaxy():
    return fake.Galaxy()


def test_manga_rows_keep_their_own_redshift_and_resolution(tmp_path, galaxy):
    fake.write_manga(tmp_path / "rows.fits", galaxy, n_rows=3)
    spectra = read_spectra(tmp_path / "rows.fits")
    np.testing.assert_allclose([s.redshift for s in spectra], fake.REDSHIFT + np.arange(3) / 100)
    np.testing.assert_allclose(spectra[1].flux, 2 * galaxy.flux, rtol=1e-6)
    assert all(np.all(s.resolution == 1800) for s in spectra)


@pytest.mark.parametrize(("bit", "is_bad"), [(0, True), (3, True), (10, True), (20, False)])
def test_manga_mask_bits_are_obeyed(tmp_path, galaxy, bit, is_bad):
    mask = np.zeros(fake.N_PIXELS, dtype=int)
    mask[11] = 1 << bit
    fake.write_manga(tmp_path / "rows.fits", galaxy, mask=mask)
    assert np.flatnonzero(read_spectrum(tmp_path / "rows.fits").mask).tolist() == ([11] if is_bad else [])


def test_a_cube_gives_its_covered_spaxels_under_the_index_y_nx_plus_x(tmp_path, galaxy):
    fake.write_manga_cube(tmp_path / "cube.fits", galaxy)
    spectra = read_spectra(tmp_path / "cube.fits", redshift=0.02)
    assert [s.name for s in spectra] == ["cube_1", "cube_5"]
    np.testing.assert_allclose(spectra[1].flux, 21 * galaxy.flux, rtol=1e-6)
    np.testing.assert_allclose(spectra[0].resolution, galaxy.wavelength / (FWHM * 1.2), rtol=1e-6)
    assert read_spectrum(tmp_path / "cube.fits", redshift=0.02, index=5).name == "cube_5"


def test_spectra_without_data_are_left_out_with_a_warning_but_refused_when_asked_for(tmp_path, galaxy):
    mask = np.zeros((3, fake.N_PIXELS), dtype=int)
    mask[1] = 1 << 10
    fake.write_manga(tmp_path / "rows.fits", galaxy, n_rows=3, mask=mask)
    with pytest.warns(UserWarning, match=r"usable pixel: 1$"):
        assert [s.name for s in read_spectra(tmp_path / "rows.fits")] == ["rows_0", "rows_2"]
    with pytest.raises(SpectrumError, match=r"rows\.fits, spectrum 1: all 400 pixels are masked"):
        read_spectrum(tmp_path / "rows.fits", index=1)
    kinds = [type(s).__name__ for _, _, s in iter_spectra(tmp_path / "rows.fits")]
    assert kinds == ["Spectrum", "SpectrumError", "Spectrum"]


def test_a_cube_is_at_the_redshift_that_its_header_states(tmp_path, galaxy):
    fake.write_manga_cube(tmp_path / "cube.fits", galaxy)
    with pytest.raises(SpectrumError, match=r"no redshift.*SCINPVEL.*--redshift"):
        read_spectrum(tmp_path / "cube.fits", index=1)
    fits.setval(tmp_path / "cube.fits", "NSA_Z", value=0.03)
    assert read_spectrum(tmp_path / "cube.fits", index=1).redshift == 0.03


# --- MaNGA, binned ------------------------------------------------------------------------------------------


def test_each_bin_is_read_once_under_its_own_number(tmp_path, galaxy):
    cubes.write_dap(tmp_path / "manga.fits", galaxy, ((-1, 3, 3), (0, 0, 7)))
    spectra = read_spectra(tmp_path / "manga.fits")
    assert [s.name for s in spectra] == ["manga_0", "manga_3", "manga_7"]
    for spectrum, bin_id in zip(spectra, (0, 3, 7), strict=True):
        np.testing.assert_allclose(spectrum.flux, (bin_id + 1) * galaxy.flux, rtol=1e-6)
        np.testing.assert_allclose(spectrum.error, (bin_id + 1) * galaxy.error, rtol=1e-6)
        np.testing.assert_allclose(spectrum.wavelength / spectrum.resolution, FWHM * (1 + bin_id / 10), rtol=1e-6)
        assert spectrum.redshift == pytest.approx(fake.REDSHIFT)
        assert spectrum.meta["dap_type"] == "HYB10-MILESHC-MASTARSSP"
    assert [s.meta["spaxel"] for s in spectra] == ["3", "1", "5"]
    assert read_spectrum(tmp_path / "manga.fits", index=7).name == "manga_7"


def test_only_the_first_channel_of_bin_numbers_counts(tmp_path, galaxy):
    for channels in (1, 5):
        cubes.write_dap(tmp_path / f"{channels}.fits", galaxy, ((4, 4), (2, -1)), channels=channels)
    names = [[s.name[2:] for s in read_spectra(tmp_path / f"{channels}.fits")] for channels in (1, 5)]
    assert names[0] == names[1] == ["2", "4"]


@pytest.mark.parametrize(("bit", "is_bad"), [(0, True), (1, True), (3, True), (4, True), (5, False), (9, False)])
def test_mask_bits_of_the_analysis_pipeline_about_models_are_not_obeyed(tmp_path, galaxy, bit, is_bad):
    mask = np.where(np.arange(fake.N_PIXELS) == 11, 1 << bit, 0)
    cubes.write_dap(tmp_path / "a.fits", galaxy, ((0, -1),), mask=mask)
    assert np.flatnonzero(read_spectrum(tmp_path / "a.fits").mask).tolist() == ([11] if is_bad else [])


# --- CALIFA -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step_aa", "setup", "fwhm_aa"), [(2.0, "V500", 6.0), (0.7, "V1200", 2.3)])
def test_califa_spaxels_keep_errors_bad_pixels_resolution_and_velocity(tmp_path, step_aa, setup, fwhm_aa):
    galaxy = cubes.linear_galaxy(step_aa)
    cubes.write_califa(tmp_path / "NGC1.fits", galaxy, bad=20)
    one, two = read_spectra(tmp_path / "NGC1.fits")
    assert (one.name, two.name, two.medium, two.meta["setup"]) == ("NGC1_1", "NGC1_5", "air", setup)
    assert two.redshift == pytest.approx(fake.REDSHIFT)
    assert np.flatnonzero(two.mask).tolist() == [20]
    np.testing.assert_allclose(two.wavelength, galaxy.wavelength, rtol=1e-9)
    np.testing.assert_allclose(two.flux[:20], 2 * galaxy.flux[:20], rtol=1e-6)
    # ERRWEIGHT is for sums over all spaxels and must not enter
    np.testing.assert_allclose(two.error[:20], 2 * galaxy.error[:20], rtol=1e-6)
    np.testing.assert_allclose(two.wavelength / two.resolution, fwhm_aa)


def test_a_califa_cube_without_velocity_asks_for_the_redshift(tmp_path):
    cubes.write_califa(tmp_path / "a.fits", cubes.linear_galaxy(2.0), velocity=False)
    with pytest.raises(SpectrumError, match=r"MED_VEL.*--redshift"):
        read_spectrum(tmp_path / "a.fits", index=1)
    assert read_spectrum(tmp_path / "a.fits", index=1, redshift=0.01).redshift == 0.01


# --- MUSE ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["Angstrom", "m"])
def test_muse_spaxels_have_the_square_root_of_the_variance_as_error(tmp_path, unit):
    galaxy = cubes.linear_galaxy()
    cubes.write_muse(tmp_path / "cube.fits", galaxy, unit=unit, quality=1)
    one, two = read_spectra(tmp_path / "cube.fits")
    assert (one.name, two.name, two.medium) == ("cube_1", "cube_5", "air")
    np.testing.assert_allclose(two.wavelength, galaxy.wavelength, rtol=1e-9)
    np.testing.assert_allclose(two.error[6:], 2 * galaxy.error[6:], rtol=1e-6)
    assert np.flatnonzero(two.mask).tolist() == [5]
    assert two.flux_unit == "10**(-20)*erg/s/cm**2/Angstrom"


def test_the_resolution_of_muse_is_the_published_one_and_of_other_instruments_unknown(tmp_path):
    galaxy = cubes.linear_galaxy()
    for instrument in ("MUSE", "KCWI"):
        cubes.write_muse(tmp_path / f"{instrument}.fits", galaxy, ((0, 0),), instrument=instrument)
    muse = read_spectrum(tmp_path / "MUSE.fits")
    # Bacon et al. 2017, figure 8: between 2.9 A at 4800 A and 2.4 A at 7500 A
    assert muse.wavelength[40] / muse.resolution[40] == pytest.approx(2.98, abs=0.05)
    assert np.all(np.diff(muse.wavelength / muse.resolution) < 0)
    assert read_spectrum(tmp_path / "KCWI.fits").resolution is None


@pytest.mark.parametrize(("kind", "medium"), [("AWAV", "air"), ("WAVE", "vacuum"), ("WAVE-LOG", "vacuum")])
def test_the_medium_of_a_cube_is_named_by_its_axis(tmp_path, kind, medium):
    cubes.write_muse(tmp_path / "cube.fits", cubes.linear_galaxy(), kind=kind)
    assert read_spectrum(tmp_path / "cube.fits", index=1).medium == medium


def test_an_axis_of_another_name_leaves_the_medium_open(tmp_path):
    cubes.write_muse(tmp_path / "cube.fits", cubes.linear_galaxy(), kind="LAMBDA", primary={})
    with pytest.raises(SpectrumError, match=r"no redshift.*air or vacuum.*--redshift.*--medium"):
        read_spectrum(tmp_path / "cube.fits", index=1)
    assert read_spectrum(tmp_path / "cube.fits", index=1, medium="vacuum", redshift=0.2).medium == "vacuum"


# --- WEAVE --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sensitivity", ["row", "pixel"])
def test_weave_counts_become_fluxes_with_the_sensitivity(tmp_path, sensitivity):
    galaxy = cubes.linear_galaxy()
    cubes.write_weave(tmp_path / "single.fits", galaxy, sensitivity=sensitivity)
    spectra = read_spectra(tmp_path / "single.fits", redshift=0.1)
    for i, spectrum in enumerate(spectra):
        np.testing.assert_allclose(spectrum.flux, (i + 1) * galaxy.flux, rtol=1e-6)
        np.testing.assert_allclose(spectrum.error, (i + 1) * galaxy.error, rtol=1e-6)
    assert [s.meta["target"] for s in spectra] == ["galaxy 0", "galaxy 1"]
    assert (spectra[0].meta["arm"], spectra[0].medium, spectra[0].resolution) == ("red", "air", None)


def test_a_weave_cube_is_read_spaxel_by_spaxel(tmp_path):
    galaxy = cubes.linear_galaxy()
    cubes.write_weave(tmp_path / "stackcube.fits", galaxy, n_rows=3, sensitivity="pixel", cube=True, arms=["BLUE"])
    spectra = read_spectra(tmp_path / "stackcube.fits", redshift=0.1)
    assert [s.name for s in spectra] == ["stackcube_0", "stackcube_1", "stackcube_2"]
    np.testing.assert_allclose(spectra[2].flux, 3 * galaxy.flux, rtol=1e-6)
    np.testing.assert_allclose(spectra[2].error, 3 * galaxy.error, rtol=1e-6)
