"""Readers of tables, images with a wavelength axis, and text: names, units, media and what comments state."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

import fake_files as fake
from sfhflow.readers import read_spectra, read_spectrum
from sfhflow.readers.stated import Stated, stated_in

LIGHT_AA_PER_S = 2.99792458e18
OBSERVED = ["# wavelength in vacuum, redshift = 0.0625"]
STATED = {"VACUUM": True, "Z": fake.REDSHIFT}
LOG_WCS = {"CRVAL1": 3.65, "CDELT1": 1e-4, "DC-FLAG": 1, **STATED}


@pytest.fixture
def galaxy():
    return fake.Galaxy()


def columns(galaxy):
    return {"wave": galaxy.wavelength, "flux": galaxy.flux, "err": galaxy.error}


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
        {"waves": "wavelength", "flux_median": "flux", "flux_stderr": "error"},
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


# --- ESO Phase 3 --------------------------------------------------------------------------------------------


def test_an_eso_spectrum_keeps_errors_quality_resolution_and_medium(tmp_path, galaxy):
    fake.write_eso(tmp_path / "adp.fits", galaxy)
    spectrum = read_spectrum(tmp_path / "adp.fits")
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength, rtol=1e-12)
    assert np.flatnonzero(spectrum.mask).tolist() == [4]
    np.testing.assert_allclose(spectrum.error[5:], galaxy.error[5:], rtol=1e-12)
    assert np.all(spectrum.resolution == 5400)
    assert (spectrum.medium, spectrum.redshift, spectrum.meta["specsys"]) == ("air", fake.REDSHIFT, "topocent")
    assert spectrum.flux_unit == fake.ESO_UNIT


@pytest.mark.parametrize(("ucd", "medium"), [("em.wl", "vacuum"), ("em.wl;obs.atmos", "air")])
def test_the_ucd_of_an_eso_wavelength_names_its_medium(tmp_path, galaxy, ucd, medium):
    types = fake.ESO_TYPES | {"WAVE": ("spec:Data.SpectralAxis.Value", ucd)}
    fake.write_eso(tmp_path / "adp.fits", galaxy, types=types)
    assert read_spectrum(tmp_path / "adp.fits").medium == medium


def test_of_two_eso_fluxes_the_calibrated_one_is_read_with_its_own_error(tmp_path, galaxy):
    counts = {
        "FLUX_REDUCED": (galaxy.flux * 7, "adu", "eso:Data.FluxAxis.Value", "phot.flux.density;stat.uncalib"),
        "ERR_REDUCED": (galaxy.error * 7, "adu", "eso:Data.FluxAxis.Accuracy.StatError", "stat.error"),
        "BGFLUX": (galaxy.flux * 99, "adu", "eso:Data.BackgroundModel.Value", "phot.flux.density;stat.uncalib"),
    }
    fake.write_eso(tmp_path / "xshooter.fits", galaxy, extra=counts)
    spectrum = read_spectrum(tmp_path / "xshooter.fits")
    np.testing.assert_allclose(spectrum.flux[5:], galaxy.flux[5:])
    np.testing.assert_allclose(spectrum.error[5:], galaxy.error[5:])


def test_an_eso_spectrum_with_reduced_fluxes_only_is_read_by_name(tmp_path, galaxy):
    extra = {"FLUX_REDUCED": (galaxy.flux, "adu", "", ""), "ERR_REDUCED": (galaxy.error, "adu", "", "")}
    primary = {"FLUXCAL": "UNCALIBRATED"}
    fake.write_eso(tmp_path / "g.fits", galaxy, types={}, FLUX=None, ERR=None, extra=extra, primary=primary)
    with pytest.warns(UserWarning, match="FLUXCAL says that the flux is not calibrated"):
        spectrum = read_spectrum(tmp_path / "g.fits", medium="air")
    np.testing.assert_allclose(spectrum.error[5:], galaxy.error[5:])
    assert spectrum.meta["flux_calibration"] == "uncalibrated"


def test_misspelt_eso_utypes_are_understood(tmp_path, galaxy):
    types = fake.ESO_TYPES | {
        "ERR": ("Spectrum.Data.FluxAxis,Accurancy,StatError", ""),
        "QUAL": ("Spectrum.Data.FluxAxis,Quality", ""),
    }
    fake.write_eso(tmp_path / "a.fits", galaxy, types=types)
    assert np.flatnonzero(read_spectrum(tmp_path / "a.fits").mask).tolist() == [4]


def test_a_quality_that_is_zero_nowhere_is_no_mask(tmp_path, galaxy):
    fake.write_eso(tmp_path / "a.fits", galaxy, QUAL=np.ones(fake.N_PIXELS, dtype="i4"))
    with pytest.warns(UserWarning, match="QUAL is zero nowhere"):
        assert not read_spectrum(tmp_path / "a.fits").mask.any()
