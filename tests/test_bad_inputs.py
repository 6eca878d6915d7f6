"""Broken files: each is refused in one sentence that names the file and the way out."""

import gzip
import re

import numpy as np
import pytest
from astropy.io import fits

import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import read_spectrum

BREAKERS = {}
N = fake.N_PIXELS
FLAGS = ["# wavelength in vacuum, redshift = 0.0625"]


def breaks(cure, **options):
    """Register a writer of a broken file, with a word of its cure that the message must hold."""

    def register(write):
        BREAKERS[write.__name__.replace("_", " ")] = (write, cure, options)
        return write

    return register


def text(path, *columns, comments=FLAGS):
    fake.write_text(path, np.broadcast_arrays(*columns), comments=comments)


def cut(path, n_bytes):
    path.write_bytes(path.read_bytes()[:n_bytes])


def zipped(path, keep):
    data = gzip.compress(path.read_bytes())
    path.write_bytes(data[: int(keep * len(data))])


@breaks("check the file")
def flux_nan_everywhere(path, g):
    g.flux[:] = np.nan
    fake.write_sdss(path, g)


@breaks("check the file")
def flux_infinite_everywhere(path, g):
    text(path, g.wavelength, np.inf, g.error)


@breaks("remove those pixels")
def infinite_wavelength(path, g):
    g.wavelength[4] = np.inf
    text(path, g.wavelength, g.flux, g.error)


@breaks("remove those pixels")
def nan_wavelength(path, g):
    g.wavelength[4] = np.nan
    text(path, g.wavelength, g.flux, g.error)


@breaks("set the error")
def negative_errors_in_text(path, g):
    text(path, g.wavelength, g.flux, -g.error)


@breaks("set the error")
def negative_errors_in_spspec(path, g):
    g.error[3] = -1
    fake.write_spspec(path, g)


@breaks("zero inverse variance")
def negative_inverse_variances(path, g):
    table = {"wave": g.wavelength, "flux": g.flux, "ivar": -g.ivar}
    fake.write_table(path, table, header={"VACUUM": True, "Z": 0.1})


@breaks("set the error")
def negative_variances(path, g):
    table = {"wave": g.wavelength, "flux": g.flux, "var": -g.ivar}
    fake.write_table(path, table, header={"VACUUM": True, "Z": 0.1})


@breaks("check the mask and the errors")
def zero_errors(path, g):
    text(path, g.wavelength, g.flux, 0.0)


@breaks("check the mask and the errors")
def all_pixels_masked(path, g):
    fake.write_sdss(path, g, and_mask=1 << 24)


@breaks("--redshift")
def no_redshift_in_sdss(path, g):
    fake.write_sdss(path, g, specobj=False)


@breaks("--redshift")
def no_redshift_in_spspec(path, g):
    fake.write_spspec(path, g, redshift=False)


@breaks("--redshift")
def no_redshift_in_manga(path, g):
    fake.write_manga(path, g, drop=("Z",))


@breaks("redrock")
def no_redshift_file_beside_desi(path, g):
    fake.write_desi(path)


@breaks("--redshift")
def no_redshift_in_text(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=["# vacuum wavelengths"])


@breaks("--medium")
def no_medium_in_text(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=["# redshift = 0.1"])


@breaks("--redshift .* --medium")
def neither_redshift_nor_medium(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=[])


@breaks("--redshift")
def nan_redshift_in_sdss(path, g):
    g.redshift = np.nan
    fake.write_sdss(path, g)


@breaks("--redshift")
def nan_redshift_in_text(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=["# vacuum wavelengths, redshift = nan"])


@breaks("--redshift")
def word_as_redshift_in_header(path, g):
    g.redshift = "unknown"
    fake.write_spspec(path, g)


@breaks("--redshift")
def absurd_redshift(path, g):
    g.redshift = -9999.0
    fake.write_spspec(path, g)


@breaks("--redshift", redshift="0.1")
def word_as_redshift_option(path, g):
    fake.write_sdss(path, g)


@breaks("--medium", medium="vaccum")
def wrong_medium_word(path, g):
    fake.write_sdss(path, g)


@breaks("--fwhm", resolution=2.5)
def resolution_that_is_a_width(path, g):
    fake.write_sdss(path, g)


@breaks("drop one", resolution=2000, fwhm=2.5)
def resolution_and_fwhm(path, g):
    fake.write_sdss(path, g)


@breaks("positive width", fwhm=-1)
def negative_fwhm(path, g):
    fake.write_sdss(path, g)


@breaks("convert nm")
def nanometres_without_unit(path, g):
    text(path, np.linspace(380, 920, N), g.flux, g.error)


@breaks("convert nm")
def log_wavelengths_without_name(path, g):
    text(path, g.loglam, g.flux, g.error)


@breaks("correct the unit")
def wavelengths_in_an_unknown_unit(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=[*FLAGS, "# wave[furlong] flux error"])


@breaks("convert magnitudes")
def magnitudes_for_fluxes(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=[*FLAGS, "# wave flux[ABmag] error"])


@breaks("remove the repeated")
def repeated_wavelength(path, g):
    g.wavelength[5] = g.wavelength[300]
    text(path, g.wavelength, g.flux, g.error)


@breaks("select one spectrum")
def one_pixel(path, g):
    text(path, [5000.0], [1.0], [0.1])


@breaks("error of each pixel")
def two_columns(path, g):
    text(path, g.wavelength, g.flux)


@breaks("name them in a comment")
def four_columns_without_names(path, g):
    text(path, g.wavelength, g.flux, g.error, g.error)


@breaks("line 4 .* expected numbers")
def text_with_letters(path, g):
    path.write_text("# vacuum wavelengths\n4000 1 1\n4001 1 1\n4002 one 1\n")


@breaks("line 2 has 2 columns, expected 3 .* complete the file")
def ragged_text(path, g):
    path.write_text("4000 1 1\n4001 1\n")


@breaks("wavelength, flux and error")
def prose(path, g):
    path.write_text("Dear colleague,\nplease find my spectrum attached.\n")


@breaks("wavelength, flux and error")
def only_comments(path, g):
    path.write_text("# wavelength flux error\n")


@breaks("write the file again")
def damaged_ecsv(path, g):
    path.write_text("# %ECSV 1.0\n# ---\n# datatype: [oops\nwave flux err\n1 2 3\n")


@breaks("rename the columns")
def ecsv_without_flux(path, g):
    path.write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n")


@breaks("download")
def empty_file(path, g):
    path.write_bytes(b"")


@breaks("download")
def blank_file(path, g):
    path.write_text("\n \n")


@breaks("name the files inside")
def directory(path, g):
    path.mkdir()


@breaks("check the path")
def missing_file(path, g):
    pass


@breaks("convert it to FITS or to text")
def binary_that_is_not_fits(path, g):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)))


@breaks("truncated.* download")
def truncated_in_the_table(path, g):
    fake.write_sdss(path, g)
    cut(path, 9000)


@breaks("download")
def truncated_in_the_first_header(path, g):
    fake.write_sdss(path, g)
    cut(path, 1000)


@breaks("download")
def truncated_in_a_later_header(path, g):
    fake.write_sdss(path, g)
    cut(path, 4000)


@breaks("truncated.* download")
def truncated_image(path, g):
    fake.write_manga(path, g, n_rows=3)
    cut(path, path.stat().st_size // 2 - 3000)


@breaks("MASK .* download")
def cut_between_two_images(path, g):
    fake.write_manga(path, g, n_rows=3)
    with fits.open(path) as hdus:
        end = hdus.fileinfo("IVAR")["datLoc"] + hdus.fileinfo("IVAR")["datSpan"]
    cut(path, end)


@breaks("truncated.* download")
def truncated_in_the_header_of_the_mask(path, g):
    fake.write_manga(path, g, n_rows=3)
    with fits.open(path) as hdus:
        end = hdus.fileinfo("IVAR")["datLoc"] + hdus.fileinfo("IVAR")["datSpan"]
    cut(path, end + 500)


@breaks("gzip .* download")
def truncated_gzip(path, g):
    fake.write_sdss(path, g)
    zipped(path, 0.6)


@breaks("truncated.* download")
def gzip_of_truncated_fits(path, g):
    fake.write_sdss(path, g)
    cut(path, 9000)
    zipped(path, 1)


@breaks("convert it to a table")
def zeroed_table_header(path, g):
    fake.write_sdss(path, g)
    data = bytearray(path.read_bytes())
    data[2880:5760] = b" " * 2880
    path.write_bytes(bytes(data))


@breaks("convert it to a table")
def no_coadd(path, g):
    fake.write_sdss(path, g, coadd=False)


@breaks("convert it to a table")
def fits_without_data(path, g):
    fits.PrimaryHDU().writeto(path)


@breaks("download the file again")
def sdss_without_inverse_variance(path, g):
    fake.write_sdss(path, g, ivar=False)


@breaks("R_IVAR .* download", redshift=0.1)
def desi_arm_without_inverse_variance(path, g):
    fake.write_desi(path, drop=("R_IVAR",))


@breaks("IVAR .* download")
def manga_without_inverse_variance(path, g):
    fake.write_manga(path, g, drop=("IVAR",))


@breaks("data are damaged .* download")
def manga_with_arrays_of_different_shape(path, g):
    fake.write_manga(path, g)
    with fits.open(path) as hdus:
        hdus["SRES"].data = np.ones((0, 3))
        hdus.writeto(path, overwrite=True)


@breaks("error of each pixel")
def table_without_errors(path, g):
    fake.write_table(path, {"wave": g.wavelength, "flux": g.flux}, header={"VACUUM": True, "Z": 0.1})


@breaks("SIGMA, IVAR or VAR")
def image_without_errors(path, g):
    fake.write_wcs(path, g.flux, {"CRVAL1": 4000.0, "CDELT1": 1.0, "VACUUM": True, "Z": 0.1})


@breaks("extract it")
def two_dimensional_image(path, g):
    fake.write_wcs(path, np.ones((20, N)), {"CRVAL1": 4000.0, "CDELT1": 1.0, "VACUUM": True, "Z": 0.1})


@breaks("choose by index")
def several_spectra(path, g):
    fake.write_manga(path, g, n_rows=3)


@breaks("choose one", index=7)
def index_out_of_range(path, g):
    fake.write_manga(path, g, n_rows=3)


@pytest.mark.parametrize("case", BREAKERS)
def test_a_broken_file_is_refused_in_one_sentence_with_its_name_and_cure(tmp_path, case):
    write, cure, options = BREAKERS[case]
    path = tmp_path / "coadd-broken.fits"
    write(path, fake.Galaxy())
    with pytest.raises(SpectrumError) as caught:
        read_spectrum(path, **options)
    message = str(caught.value)
    assert path.name in message or "--resolution" in message or "--fwhm" in message
    assert re.search(cure, message)
    assert "expected" in message
    assert "\n" not in message
    assert len(message) < 600


def attempt(path):
    """Read a spectrum, or return why it is refused."""
    try:
        return read_spectrum(path)
    except SpectrumError as error:
        return error


@pytest.mark.parametrize("fraction", np.linspace(0.02, 0.98, 25))
@pytest.mark.parametrize("writer", [fake.write_sdss, fake.write_spspec, fake.write_manga])
def test_a_fits_file_cut_anywhere_is_refused_or_still_whole_in_what_matters(tmp_path, writer, fraction):
    path = tmp_path / "cut.fits"
    writer(path, fake.Galaxy())
    whole = read_spectrum(path)
    cut(path, int(fraction * path.stat().st_size))
    outcome = attempt(path)
    if isinstance(outcome, SpectrumError):
        assert "cut.fits" in str(outcome)
    else:
        np.testing.assert_array_equal(outcome.flux, whole.flux)
        np.testing.assert_array_equal(outcome.ivar, whole.ivar)


FUZZED = {
    "sdss": fake.write_sdss,
    "spspec": fake.write_spspec,
    "manga": fake.write_manga,
    "desi": lambda path, _: fake.write_desi(path),
    "table": lambda path, g: fake.write_table(path, {"wave": g.wavelength, "flux": g.flux, "err": g.error}),
    "wcs": lambda path, g: fake.write_wcs(
        path, g.flux, {"CRVAL1": 3.65, "CDELT1": 1e-4}, extensions={"ERR": g.error}
    ),
    "text": lambda path, g: text(path, g.wavelength, g.flux, g.error),
}


@pytest.mark.parametrize("layout", FUZZED)
def test_flipped_bytes_never_escape_as_another_error(tmp_path, layout):
    path, rng = tmp_path / "noisy.fits", np.random.default_rng(1)
    FUZZED[layout](path, fake.Galaxy())
    data = np.frombuffer(path.read_bytes(), dtype="u1")
    for _ in range(40):
        noisy = data.copy()
        # mostly in the headers, among the characters that are written there
        places = rng.choice(np.flatnonzero((data > 32) & (data < 127))[:1500], 5)
        noisy[places] = rng.integers(32, 127, 5)
        path.write_bytes(noisy.tobytes())
        outcome = attempt(path)
        assert not isinstance(outcome, SpectrumError) or "noisy.fits" in str(outcome)


def test_some_infinite_or_undefined_pixels_are_masked_and_never_reach_the_values(tmp_path):
    galaxy = fake.Galaxy()
    galaxy.flux[[2, 5]] = np.nan, np.inf
    galaxy.error[[8, 9]] = np.inf, np.nan
    text(tmp_path / "a.txt", galaxy.wavelength, galaxy.flux, galaxy.error)
    spectrum = read_spectrum(tmp_path / "a.txt")
    assert np.flatnonzero(spectrum.mask).tolist() == [2, 5, 8, 9]
    assert np.all(np.isfinite(spectrum.flux) & np.isfinite(spectrum.ivar))


def test_a_reversed_grid_is_not_broken(tmp_path):
    galaxy = fake.Galaxy()
    text(tmp_path / "a.txt", galaxy.wavelength[::-1], galaxy.flux[::-1], galaxy.error[::-1])
    spectrum = read_spectrum(tmp_path / "a.txt")
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength)
    np.testing.assert_allclose(spectrum.flux, galaxy.flux)
