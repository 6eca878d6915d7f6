"""Files whose numbers, units or statements are wrong; each writer is registered with the cure that is to be named.

A writer takes a path and the invented galaxy of `fake_files`.
"""

import numpy as np
from astropy.io import fits

import fake_cubes as cubes
import fake_files as fake

BREAKERS = {}
N = fake.N_PIXELS
FLAGS = ["# wavelength in vacuum, redshift = 0.0625"]
STATED = {"VACUUM": True, "Z": 0.1}


def breaks(cure, **options):
    """Register a writer of a broken file, with a word of its cure that the message must hold."""

    def register(write):
        BREAKERS[write.__name__.replace("_", " ")] = (write, cure, options)
        return write

    return register


def text(path, *columns, comments=FLAGS):
    fake.write_text(path, np.broadcast_arrays(*columns), comments=comments)


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


@breaks("convert nm")
def microns_without_unit(path, g):
    text(path, np.linspace(0.38, 0.92, N), g.flux, g.error)


@breaks("convert nm")
def negative_wavelengths(path, g):
    text(path, -g.wavelength, g.flux, g.error)


@breaks("remove those pixels")
def wavelengths_nan_everywhere(path, g):
    text(path, np.nan, g.flux, g.error)


@breaks("correct the unit")
def velocities_for_wavelengths(path, g):
    header = {"CRVAL1": -500.0, "CDELT1": 2.5, "CUNIT1": "km/s"} | STATED
    fake.write_wcs(path, g.flux, header, extensions={"ERROR": g.error})


@breaks("check the mask and the errors")
def errors_nan_everywhere(path, g):
    text(path, g.wavelength, g.flux, np.nan)


@breaks("check the mask and the errors")
def errors_infinite_everywhere(path, g):
    text(path, g.wavelength, g.flux, np.inf)


@breaks("check the mask and the errors")
def errors_so_small_that_their_square_vanishes(path, g):
    text(path, g.wavelength, g.flux, 1e-200)


@breaks("check the mask and the errors")
def good_fluxes_only_where_errors_are_bad(path, g):
    first = np.arange(N) < N // 2
    text(path, g.wavelength, np.where(first, np.nan, g.flux), np.where(first, g.error, 0.0))


@breaks("remove the repeated")
def constant_wavelength(path, g):
    text(path, 5000.0, g.flux, g.error)


@breaks("remove the repeated")
def grid_forward_and_back(path, g):
    there_and_back = np.concatenate([g.wavelength, g.wavelength[::-1]])
    text(path, there_and_back, np.tile(g.flux, 2), np.tile(g.error, 2))


@breaks("select one spectrum")
def table_without_rows(path, g):
    fake.write_table(path, {"wave": np.zeros(0), "flux": np.zeros(0), "err": np.zeros(0)}, header=STATED)


@breaks("--redshift")
def redshift_beyond_ten(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=["# vacuum wavelengths, redshift = 11"])


@breaks("--redshift", redshift=True)
def truth_value_as_redshift_option(path, g):
    fake.write_sdss(path, g)


@breaks("--redshift", redshift=[0.1])
def list_as_redshift_option(path, g):
    fake.write_sdss(path, g)


@breaks("--redshift", redshift=np.inf)
def infinite_redshift_option(path, g):
    fake.write_sdss(path, g)


@breaks("--medium")
def both_media_in_text(path, g):
    text(path, g.wavelength, g.flux, g.error, comments=["# wavelengths in air and vacuum, redshift = 0.1"])


@breaks("--fwhm", resolution=np.nan)
def resolution_that_is_no_number(path, g):
    fake.write_sdss(path, g)


@breaks("positive width", fwhm=np.nan)
def width_that_is_no_number(path, g):
    fake.write_sdss(path, g)


@breaks("divide A_V by 3.1", ebv=-0.02)
def negative_colour_excess(path, g):
    fake.write_sdss(path, g)


@breaks("name them in a comment")
def decimal_commas(path, g):
    path.write_text("# redshift = 0.1, vacuum wavelengths\n4000,5 1,0 0,1\n4001,5 1,0 0,1\n")


@breaks("MED_VEL.*--redshift")
def no_redshift_in_califa(path, g):
    cubes.write_califa(path, cubes.linear_galaxy(2.0), ((0, 0),), velocity=False)


@breaks("--redshift .* --medium")
def muse_without_redshift_and_medium(path, g):
    cubes.write_muse(path, cubes.linear_galaxy(), ((0, 0),), kind="LAMBDA", primary={})


@breaks("--redshift")
def no_redshift_in_weave(path, g):
    cubes.write_weave(path, cubes.linear_galaxy(), n_rows=1)


@breaks("table with wavelength, flux and error")
def eso_flux_and_error_in_different_units(path, g):
    counts = (g.error, "adu", *fake.ESO_TYPES["ERR"])
    fake.write_eso(path, g, ERR=None, extra={"ERR_REDUCED": counts})


@breaks("add that column")
def eso_without_error(path, g):
    fake.write_eso(path, g, ERR=None)


@breaks("correct the unit")
def eso_wavelengths_in_seconds(path, g):
    fake.write_eso(path, g, wave_unit="s")


@breaks("remove it, or name the columns in a comment")
def first_column_counts_the_lines(path, g):
    text(path, np.arange(1, N + 1), g.wavelength, g.flux)


@breaks("--snr .* --redshift .* --medium")
def neither_errors_nor_redshift_nor_medium(path, g):
    text(path, g.wavelength, g.flux, comments=[])


@breaks("leave it out", snr=-5)
def negative_signal_to_noise_ratio(path, g):
    fake.write_sdss(path, g)


@breaks("IVAR has shape .* download")
def stacks_with_errors_of_another_shape(path, g):
    fake.write_named_images(path, g, n_rows=2)
    with fits.open(path, mode="update") as hdus:
        hdus["IVAR"].data = hdus["IVAR"].data[:1]
