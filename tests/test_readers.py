"""Readers: what is in the file comes out, in the right place, frame, medium and unit."""

import gzip
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import READERS, iter_spectra, read_spectra, read_spectrum
from sfhflow.readers.stated import Stated, stated_in

FWHM = 2 * np.sqrt(2 * np.log(2))
LIGHT_AA_PER_S = 2.99792458e18
OBSERVED = ["# wavelength in vacuum, redshift = 0.0625"]


@pytest.fixture
def galaxy():
    return fake.Galaxy()


def columns(galaxy):
    return {"wave": galaxy.wavelength, "flux": galaxy.flux, "err": galaxy.error}


STATED = {"VACUUM": True, "Z": fake.REDSHIFT}
LOG_WCS = {"CRVAL1": 3.65, "CDELT1": 1e-4, "DC-FLAG": 1, **STATED}
FORMATS = {
    "sdss": lambda p, g: fake.write_sdss(p, g),
    "spspec": lambda p, g: fake.write_spspec(p, g),
    "manga": lambda p, g: fake.write_manga(p, g),
    "table": lambda p, g: fake.write_table(p, columns(g), header=STATED),
    "wcs1d": lambda p, g: fake.write_wcs(p, g.flux, LOG_WCS, extensions={"ERROR": g.error}),
    "text": lambda p, g: fake.write_text(p, columns(g).values(), comments=OBSERVED),
}


@pytest.mark.parametrize("reader", FORMATS)
@pytest.mark.parametrize("name", ["galaxy.fits", "galaxy", "galaxy.txt.gz"])
def test_every_format_is_recognised_by_content_and_gives_back_the_galaxy(tmp_path, galaxy, reader, name):
    plain = tmp_path / "written"
    FORMATS[reader](plain, galaxy)
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()) if name.endswith(".gz") else plain.read_bytes())
    spectrum = read_spectrum(path)
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength, rtol=2e-6)
    np.testing.assert_allclose(spectrum.flux, galaxy.flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.error, galaxy.error, rtol=1e-6)
    assert spectrum.redshift == pytest.approx(fake.REDSHIFT, rel=1e-6)
    assert (spectrum.medium, spectrum.name) == ("vacuum", "galaxy")
    assert spectrum.meta["reader"] == reader
    assert spectrum.meta["file"] == name
    assert not spectrum.mask.any()


def test_every_reader_is_exercised_and_registered():
    assert {*FORMATS, "desi", "prospector"} == {reader.NAME for reader in READERS}


# --- SDSS ---------------------------------------------------------------------------------------------------


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


# --- DESI ---------------------------------------------------------------------------------------------------


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


# --- MaNGA --------------------------------------------------------------------------------------------------


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


# --- tables, units, f_nu ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "per_aa"), [("nm", 0.1), ("um", 1e-4), ("Angstrom", 1), ("m", 1e-10), ("AA", 1)])
def test_stated_wavelength_units_are_converted(tmp_path, galaxy, unit, per_aa):
    table = columns(galaxy) | {"wave": (galaxy.wavelength * per_aa, unit)}
    fake.write_table(tmp_path / "a.fits", table, header=STATED)
    np.testing.assert_allclose(read_spectrum(tmp_path / "a.fits").wavelength, galaxy.wavelength, rtol=1e-12)
    name = f"# wavelength[{unit}] flux error"
    fake.write_text(
        tmp_path / "a.txt",
        [c[0] if isinstance(c, tuple) else c for c in table.values()],
        comments=[*OBSERVED, name],
    )
    np.testing.assert_allclose(read_spectrum(tmp_path / "a.txt").wavelength, galaxy.wavelength, rtol=1e-8)


@pytest.mark.parametrize(
    ("unit", "cgs"),
    [("Jy", 1e-23), ("mJy", 1e-26), ("maggy", 3631e-23), ("maggies", 3631e-23), ("erg/s/cm**2/Hz", 1)],
)
def test_fluxes_per_frequency_become_fluxes_per_wavelength(tmp_path, galaxy, unit, cgs):
    fake.write_table(
        tmp_path / "a.fits",
        columns(galaxy) | {"flux": (galaxy.flux, unit), "err": (galaxy.error, unit)},
        header=STATED,
    )
    spectrum = read_spectrum(tmp_path / "a.fits")
    factor = cgs * LIGHT_AA_PER_S / galaxy.wavelength**2
    np.testing.assert_allclose(spectrum.flux, galaxy.flux * factor, rtol=1e-5)
    np.testing.assert_allclose(spectrum.error, galaxy.error * factor, rtol=1e-5)
    assert spectrum.flux_unit == "erg / (Angstrom s cm2)"


def test_a_column_named_fnu_is_converted_without_a_unit_too(tmp_path, galaxy):
    fake.write_text(tmp_path / "a.txt", columns(galaxy).values(), comments=[*OBSERVED, "# wave f_nu sigma"])
    spectrum = read_spectrum(tmp_path / "a.txt")
    ratio = spectrum.flux * galaxy.wavelength**2 / galaxy.flux
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)
    np.testing.assert_allclose(spectrum.flux * spectrum.error**-1, galaxy.flux / galaxy.error, rtol=1e-8)


def test_an_error_in_another_unit_than_the_flux_is_brought_to_it(tmp_path, galaxy):
    table = columns(galaxy) | {"flux": (galaxy.flux, "Jy"), "err": (1000 * galaxy.error, "mJy")}
    fake.write_table(tmp_path / "a.fits", table, header=STATED)
    assert read_spectrum(tmp_path / "a.fits").snr == pytest.approx(np.median(galaxy.flux / galaxy.error))


@pytest.mark.parametrize(
    "renamed",
    [
        {"LAMBDA": "wavelength", "Flux": "flux", "IVAR": "ivar"},
        {"loglam": "loglam", "spec": "flux", "flux_err": "error"},
        {"ln_wave": "lnlam", "F_lambda": "flux", "Variance": "variance"},
    ],
)
def test_columns_are_recognised_by_their_usual_names(tmp_path, galaxy, renamed):
    values = {
        "wavelength": galaxy.wavelength,
        "loglam": galaxy.loglam,
        "lnlam": np.log(galaxy.wavelength),
        "flux": galaxy.flux,
        "error": galaxy.error,
        "ivar": galaxy.ivar,
        "variance": galaxy.error**2,
    }
    fake.write_table(tmp_path / "a.fits", {new: values[old] for new, old in renamed.items()}, header=STATED)
    spectrum = read_spectrum(tmp_path / "a.fits")
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength, rtol=1e-12)
    np.testing.assert_allclose(spectrum.error, galaxy.error, rtol=1e-12)


def test_a_row_of_arrays_is_a_spectrum_a_row(tmp_path, galaxy):
    table = {key: np.stack([value, value + 1]) for key, value in columns(galaxy).items()}
    fake.write_table(tmp_path / "eso.fits", table, header=STATED)
    spectra = read_spectra(tmp_path / "eso.fits")
    np.testing.assert_allclose(spectra[1].flux, galaxy.flux + 1)


def test_ecsv_brings_its_units_metadata_and_masked_values(tmp_path, galaxy):
    masked = np.arange(fake.N_PIXELS) == 9
    table = Table(
        {"wave": galaxy.wavelength / 10, "flux": MaskedColumn(galaxy.flux, mask=masked), "err": galaxy.error}
    )
    table["wave"].unit = "nm"
    table.meta = {"redshift": 0.0625, "comments": ["wavelengths in air"]}
    table.write(tmp_path / "a.ecsv")
    spectrum = read_spectrum(tmp_path / "a.ecsv")
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength)
    assert (spectrum.medium, spectrum.redshift) == ("air", 0.0625)
    np.testing.assert_array_equal(spectrum.mask, masked)


def test_the_mask_of_prospector_marks_good_pixels_and_other_masks_bad_ones(tmp_path, galaxy):
    mask = np.arange(fake.N_PIXELS) < 100
    table = {
        "wavelength": (galaxy.wavelength, "Angstrom"),
        "spectrum": galaxy.flux,
        "unc": galaxy.error,
        "mask": mask,
    }
    fake.write_table(tmp_path / "p.fits", table, header={"WAVEFRM": "rest frame, vacuum"})
    table["flux"] = table.pop("spectrum")
    fake.write_table(tmp_path / "t.fits", table, header={"WAVEFRM": "rest frame, vacuum"})
    prospector, other = read_spectrum(tmp_path / "p.fits"), read_spectrum(tmp_path / "t.fits")
    np.testing.assert_array_equal(prospector.mask, ~mask)
    np.testing.assert_array_equal(other.mask, mask)
    # Prospector's fluxes are in maggies
    ratio = (prospector.flux * galaxy.wavelength**2 / galaxy.flux)[mask]
    np.testing.assert_allclose(ratio, 3631e-23 * LIGHT_AA_PER_S, rtol=1e-5)


# --- wavelengths in the header ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"CRVAL1": 4000.0, "CDELT1": 1.5}, lambda i: 4000 + 1.5 * i),
        ({"CRVAL1": 4000.0, "CD1_1": 1.5, "CRPIX1": 11.0}, lambda i: 4000 + 1.5 * (i - 10)),
        ({"CRVAL1": 400.0, "CDELT1": 0.15, "CUNIT1": "nm"}, lambda i: 4000 + 1.5 * i),
        ({"CRVAL1": 3.6, "CDELT1": 1e-4, "DC-FLAG": 1}, lambda i: 10 ** (3.6 + 1e-4 * i)),
        ({"CRVAL1": 3.6, "CD1_1": 1e-4}, lambda i: 10 ** (3.6 + 1e-4 * i)),
        ({"CRVAL1": 8.3, "CDELT1": 2e-4}, lambda i: np.exp(8.3 + 2e-4 * i)),
        ({"CRVAL1": 8000.0, "CDELT1": -2.0}, lambda i: 8000 - 2 * i),
    ],
)
def test_wavelengths_follow_from_the_header(tmp_path, galaxy, header, expected):
    fake.write_wcs(tmp_path / "a.fits", galaxy.flux, header | STATED, extensions={"IVAR": galaxy.ivar})
    spectrum = read_spectrum(tmp_path / "a.fits")
    wavelength = expected(np.arange(fake.N_PIXELS))
    order = np.argsort(wavelength)
    np.testing.assert_allclose(spectrum.wavelength, wavelength[order], rtol=1e-12)
    np.testing.assert_allclose(spectrum.flux, galaxy.flux[order])
    np.testing.assert_allclose(spectrum.error, galaxy.error[order])


@pytest.mark.parametrize(("kind", "medium"), [("WAVE", "vacuum"), ("AWAV", "air")])
def test_the_logarithmic_axis_of_the_standard_agrees_with_wcslib(tmp_path, galaxy, kind, medium):
    header = {"CTYPE1": f"{kind}-LOG", "CUNIT1": "Angstrom", "CRVAL1": 5000.0, "CDELT1": 2.0, "CRPIX1": 50.0}
    fake.write_wcs(tmp_path / "a.fits", galaxy.flux, header | {"Z": 0.0625}, extensions={"SIGMA": galaxy.error})
    spectrum = read_spectrum(tmp_path / "a.fits")
    truth = WCS(fits.getheader(tmp_path / "a.fits")).pixel_to_world_values(np.arange(fake.N_PIXELS)) * 1e10
    np.testing.assert_allclose(spectrum.wavelength, truth, rtol=1e-10)
    assert spectrum.medium == medium


def test_the_bands_of_an_iraf_spectrum_are_told_apart_by_their_names(tmp_path, galaxy):
    bands = np.stack([galaxy.flux, galaxy.flux + 5, 0 * galaxy.flux, galaxy.error])[:, None, :]
    names = [
        "spectrum - background median, weights variance",
        "raw",
        "background",
        "sigma - background median",
    ]
    header = LOG_WCS | {f"BANDID{i}": name for i, name in enumerate(names, 1)}
    fake.write_wcs(tmp_path / "a.fits", bands, header)
    spectrum = read_spectrum(tmp_path / "a.fits")
    np.testing.assert_allclose(spectrum.flux, galaxy.flux)
    np.testing.assert_allclose(spectrum.error, galaxy.error)


# --- text and what it states --------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", "   "])
def test_text_may_be_separated_by_blanks_or_commas(tmp_path, galaxy, separator):
    fake.write_text(tmp_path / "a", columns(galaxy).values(), comments=OBSERVED, separator=separator)
    np.testing.assert_allclose(read_spectrum(tmp_path / "a").flux, galaxy.flux, rtol=1e-9)


def test_text_with_a_title_line_may_order_its_columns_freely(tmp_path, galaxy):
    data = [np.arange(fake.N_PIXELS) == 5, galaxy.flux, galaxy.ivar, galaxy.wavelength]
    fake.write_text(tmp_path / "a.csv", data, comments=["mask,flux,ivar,wave_air"], separator=",")
    spectrum = read_spectrum(tmp_path / "a.csv", redshift=0.1)
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength)
    assert np.flatnonzero(spectrum.mask).tolist() == [5]
    assert spectrum.medium == "air"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wavelength[Angstrom, air, rest] flux[arbitrary] flux_error", Stated(0.0, "air")),
        ("WAVEFRM = rest frame, vacuum", Stated(0.0, "vacuum")),
        ("redshift = 0.01", Stated(0.01)),
        ("z: 1.5e-2; medium = vacuum", Stated(0.015, "vacuum")),
        ("medium: air, resolution = 2000", Stated(None, "air", 2000.0)),
        ("resolution = 2.5 Angstrom", Stated(fwhm=2.5)),
        ("FWHM = 2.5", Stated(fwhm=2.5)),
        ("fwhm = 1.1 arcsec", Stated()),
        ("rest-frame wavelengths, redshift = 0.3", Stated(0.0)),
        ("wavelengths converted from air to vacuum", Stated()),
        ("wavelengths not in the rest frame", Stated()),
        ("outside air temperature 12 C", Stated()),
        ("airmass = 1.2", Stated()),
        ("the rest of the galaxy", Stated()),
        ("PHOTO_Z = 0.4", Stated()),
        ("Z_ERR = 0.001", Stated()),
    ],
)
def test_only_plain_statements_are_believed(line, expected):
    assert stated_in([line]) == expected


# --- what the user says -------------------------------------------------------------------------------------


def test_what_the_user_says_wins_over_the_file(tmp_path, galaxy):
    fake.write_sdss(tmp_path / "a.fits", galaxy)
    spectrum = read_spectrum(tmp_path / "a.fits", redshift=0.07, medium="air", fwhm=2.5)
    assert (spectrum.redshift, spectrum.medium) == (0.07, "air")
    np.testing.assert_allclose(spectrum.wavelength / spectrum.resolution, 2.5)
    assert np.all(read_spectrum(tmp_path / "a.fits", resolution=1234).resolution == 1234)


def test_an_unstated_resolution_stays_unknown(tmp_path, galaxy):
    fake.write_table(tmp_path / "a.fits", columns(galaxy), header=STATED)
    assert read_spectrum(tmp_path / "a.fits").resolution is None


def test_pixels_are_sorted_together_with_their_errors_and_mask(tmp_path, galaxy):
    order = np.random.default_rng(0).permutation(fake.N_PIXELS)
    mask = np.arange(fake.N_PIXELS) % 7 == 0
    table = {k: v[order] for k, v in (columns(galaxy) | {"mask": mask.astype(int)}).items()}
    fake.write_table(tmp_path / "a.fits", table, header=STATED)
    spectrum = read_spectrum(tmp_path / "a.fits")
    np.testing.assert_array_equal(spectrum.mask, mask)
    np.testing.assert_allclose(spectrum.error[~mask], galaxy.error[~mask])


def test_several_spectra_must_be_chosen_from(tmp_path, galaxy):
    fake.write_manga(tmp_path / "rows.fits", galaxy, n_rows=3)
    with pytest.raises(SpectrumError, match=r"rows\.fits: found 3 spectra.*index=0 \.\.\. 2.*read_spectra"):
        read_spectrum(tmp_path / "rows.fits")
    assert read_spectrum(tmp_path / "rows.fits", index=2).name == "rows_2"
    with pytest.raises(SpectrumError, match="index 3, expected one of 3 from 0 to 2"):
        read_spectra(tmp_path / "rows.fits", index=3)


# --- real files ---------------------------------------------------------------------------------------------

REAL = {  # file: redshift, signal-to-noise ratio, passive with a clear Ca K line
    "spec-0403-51871-0462.fits": (0.137, 17, True),
    "spec-0266-51602-0001.fits": (0.0213, 37, True),
    "NGC4636_SDSS_DR12.fits": (0.00303, 49, True),
    "spec-4055-55359-0006.fits": (0.214, 26, True),
    "spec-1014-52707-0584.fits": (0.075, 18, False),
    "spec-2101-53858-0220.fits": (0.0726, 40, False),
    "sdss_dr18_0358-51818-0504.fits": (0.0472, 22, False),
    "spSpec-52143-0650-180.fit": (0.0915, 21, True),
}
CA_K_AIR, NA_D_AIR = 3933.66, (5889.95, 5895.92)


def vacuum(air_aa):
    """Morton 2000, ApJS 130, 403, eq. 8, inverted to first order."""
    s2 = (1e4 / np.asarray(air_aa)) ** 2
    return air_aa * (1 + 8.34254e-5 + 2.406147e-2 / (130 - s2) + 1.5998e-4 / (38.9 - s2))


def line_centre(spectrum, guess_aa, half_width_aa=12.0):
    """Centroid of the absorption near a rest wavelength, below the straight line between its sides."""
    rest, flux = spectrum.rest_wavelength, spectrum.flux
    near = (abs(rest - guess_aa) < half_width_aa) & ~spectrum.mask
    depth = np.quantile(flux[near], 0.8) - flux[near]
    weight = np.clip(depth - 0.5 * depth.max(), 0, None)
    return np.sum(rest[near] * weight) / np.sum(weight)


@pytest.mark.parametrize("name", REAL)
def test_real_sdss_spectra_have_the_known_redshift_noise_and_resolution(shared_data, name):
    redshift, snr, _ = REAL[name]
    spectrum = read_spectrum(shared_data / "galaxies" / name)
    assert spectrum.redshift == pytest.approx(redshift, abs=6e-4)
    assert spectrum.snr == pytest.approx(snr, rel=0.15)
    assert np.all(np.diff(spectrum.wavelength) > 0)
    assert 1500 < np.median(spectrum.resolution) < 2500
    assert spectrum.medium == "vacuum"
    assert spectrum.meta["class"] == "GALAXY"


@pytest.mark.parametrize("name", [name for name, (_, _, passive) in REAL.items() if passive])
def test_calcium_k_of_real_passive_galaxies_lies_at_its_vacuum_wavelength(shared_data, name):
    spectrum = read_spectrum(shared_data / "galaxies" / name)
    assert line_centre(spectrum, vacuum(CA_K_AIR)) == pytest.approx(vacuum(CA_K_AIR), abs=1.5)


def test_the_mean_position_of_calcium_k_tells_vacuum_from_air(shared_data):
    passive = [name for name, (_, _, is_passive) in REAL.items() if is_passive]
    centres = [line_centre(read_spectrum(shared_data / "galaxies" / n), vacuum(CA_K_AIR)) for n in passive]
    assert abs(np.mean(centres) - vacuum(CA_K_AIR)) < 0.5
    assert abs(np.mean(centres) - CA_K_AIR) > 0.8


@pytest.mark.parametrize("name", [name for name in REAL if name.endswith("fits")])
def test_flagged_pixels_of_real_sdss_spectra_are_masked(shared_data, name):
    with fits.open(shared_data / "galaxies" / name) as hdus:
        table = hdus[1].data
        bright_sky_or_lost = (table["and_mask"] & (0b1011 << 22 | 1 << 18)) != 0
        no_error, n = table["ivar"] == 0, len(table)
    mask = read_spectrum(shared_data / "galaxies" / name).mask
    assert np.all(mask[bright_sky_or_lost | no_error])
    assert mask.sum() < 0.05 * n


def test_the_real_desi_galaxy_is_joined_and_its_lines_are_at_rest(shared_data):
    spectrum = read_spectrum(shared_data / "galaxies" / "coadd-4-80613-thru20210324.fits")
    assert spectrum.redshift == pytest.approx(0.3687, abs=1e-4)
    assert (spectrum.wavelength[0], spectrum.wavelength[-1]) == pytest.approx((3600, 9824))
    np.testing.assert_allclose(np.diff(spectrum.wavelength), 0.8, rtol=1e-6)
    # Guy et al. 2023: the resolving power rises from about 2000 in the blue to above 5000 in the red
    blue, red = (np.median(spectrum.resolution[abs(spectrum.wavelength - w) < 100]) for w in (3800, 9500))
    assert 1900 < blue < 2800
    assert 4500 < red < 6500
    rest = spectrum.rest_wavelength
    near = abs(rest - vacuum(5006.84)) < 8
    assert rest[near][np.argmax(spectrum.flux[near])] == pytest.approx(vacuum(5006.84), abs=0.7)


def test_the_real_manga_rows_are_read_except_the_blank_one(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectra = {s.name: s for s in read_spectra(shared_data / "galaxies" / "MaNGA_test_spectra.fits.gz")}
    assert set(spectra) == {f"MaNGA_test_spectra_{i}" for i in (0, 1, 2, 3, 4, 6, 7)}
    passive = [spectra[f"MaNGA_test_spectra_{i}"] for i in range(5)]
    assert all(50 < s.snr < 170 for s in passive)
    assert spectra["MaNGA_test_spectra_6"].snr < 3
    assert spectra["MaNGA_test_spectra_7"].snr == pytest.approx(15, rel=0.15)
    for s in passive:
        # the redshift is the galaxy's; a spaxel may move by 300 km/s against it
        assert line_centre(s, vacuum(CA_K_AIR)) == pytest.approx(vacuum(CA_K_AIR), abs=4)
        assert 1500 < np.median(s.resolution) < 2500


def test_the_real_cluster_is_in_the_rest_frame_in_vacuum_with_its_mask_the_right_way_round(shared_data):
    spectrum = read_spectrum(shared_data / "clusters" / "NGC1851_schiavon05_from_ggc1h5.fits")
    assert (spectrum.redshift, spectrum.medium) == (0.0, "vacuum")
    assert spectrum.snr > 200
    # the regions left out in the original are the blue end, the sky line at 5577 A and Na D
    at = {w: bool(spectrum.mask[np.argmin(abs(spectrum.wavelength - w))]) for w in (3500, 4300, 5200, 5572, 5890)}
    assert at == {3500: True, 4300: False, 5200: False, 5572: True, 5890: True}
    # Schiavon et al.'s flux falls in f_nu and is nearly flat in f_lambda from 4500 to 6000 A
    flux = [np.median(spectrum.flux[(abs(spectrum.wavelength - w) < 60) & ~spectrum.mask]) for w in (4500, 6000)]
    assert flux[1] / flux[0] == pytest.approx(1.0, abs=0.25)
    assert line_centre(spectrum, vacuum(4861.33)) == pytest.approx(vacuum(4861.33), abs=1.0)


@pytest.mark.parametrize("sigma", ["100_110", "140_150", "180_190", "200_210", "240_250", "280_320"])
def test_the_real_stacks_need_no_flags_and_are_in_the_rest_frame_in_air(shared_data, sigma):
    spectrum = read_spectrum(shared_data / "stacks" / f"stack_{sigma}.dat")
    assert (spectrum.redshift, spectrum.medium, spectrum.resolution) == (0.0, "air", None)
    assert 250 < spectrum.snr < 900
    assert line_centre(spectrum, np.mean(NA_D_AIR)) == pytest.approx(np.mean(NA_D_AIR), abs=0.7)
