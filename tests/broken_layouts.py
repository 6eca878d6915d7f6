"""Files that are damaged, incomplete, of another kind or not there; see `broken_values`."""

import gzip
import os

import numpy as np
from astropy.io import fits

import fake_cubes as cubes
import fake_files as fake
from broken_values import N, breaks


def cut(path, n_bytes):
    path.write_bytes(path.read_bytes()[:n_bytes])


def zipped(path, keep):
    data = gzip.compress(path.read_bytes())
    path.write_bytes(data[: int(keep * len(data))])


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


@breaks("check the path")
def symbolic_link_to_itself(path, g):
    path.symlink_to(path.name)


@breaks("check the path")
def symbolic_link_to_nothing(path, g):
    path.symlink_to("nowhere")


@breaks("download or write it again")
def null_device(path, g):
    path.symlink_to(os.devnull)


@breaks("check the path and its permissions")
def file_without_permission(path, g):
    fake.write_sdss(path, g)
    path.chmod(0)


@breaks("convert it to FITS or to text")
def gzip_of_garbage(path, g):
    path.write_bytes(gzip.compress(np.random.default_rng(0).bytes(5000)))


@breaks("convert it to FITS or to text")
def gzip_in_gzip(path, g):
    fake.write_sdss(path, g)
    path.write_bytes(gzip.compress(gzip.compress(path.read_bytes())))


@breaks("download or write it again")
def gzip_of_nothing(path, g):
    path.write_bytes(gzip.compress(b""))


@breaks("download the file again")
def gzip_magic_and_garbage(path, g):
    path.write_bytes(b"\x1f\x8b" + np.random.default_rng(0).bytes(500))


@breaks("wavelength, flux and error")
def error_page_of_a_server(path, g):
    path.write_text("<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n")


@breaks("convert it to FITS or to text")
def text_in_sixteen_bits(path, g):
    path.write_text("4000 1 0.1\n4001 1 0.1\n", encoding="utf-16")


@breaks("download the file again|convert it")
def fits_magic_and_garbage(path, g):
    path.write_bytes(b"SIMPLE  =" + np.random.default_rng(0).bytes(6000))


@breaks("download the file again")
def text_for_numbers_in_a_fits_table(path, g):
    columns = [fits.Column(name, "5A", array=["a"] * 9) for name in ("wave", "flux", "err")]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)


@breaks("extract it")
def data_cube_of_an_unknown_instrument(path, g):
    fake.write_wcs(path, np.ones((3, 4, N)), {"CRVAL1": 4000.0, "CDELT1": 1.0, "VACUUM": True, "Z": 0.1})


@breaks("extract it")
def plate_of_many_fibres(path, g):
    fake.write_spplate(path, g)


@breaks("convert it to a table")
def maps_of_the_manga_analysis(path, g):
    names = ("SPX_MFLUX", "BINID", "STELLAR_VEL", "STELLAR_SIGMA", *(f"EMLINE_{i}_GFLUX" for i in range(40)))
    cubes.write(path, {name: np.ones((5, 4)) for name in names})


@breaks("MASK .* download")
def binned_manga_without_mask(path, g):
    cubes.write_dap(path, g, drop=("MASK",))


@breaks("check the file")
def binned_manga_without_bins(path, g):
    cubes.write_dap(path, g, ((-1, -1),))


@breaks("BADPIX has shape .* download")
def califa_with_a_mask_of_another_shape(path, g):
    cubes.write_califa(path, cubes.linear_galaxy(2.0))
    with fits.open(path) as hdus:
        hdus["BADPIX"].data = hdus["BADPIX"].data[:-1]
        hdus.writeto(path, overwrite=True)


@breaks("STAT has shape .* download")
def muse_with_variances_of_another_shape(path, g):
    cubes.write_muse(path, cubes.linear_galaxy())
    with fits.open(path) as hdus:
        hdus["STAT"].data = hdus["STAT"].data[:, :1]
        hdus.writeto(path, overwrite=True)


@breaks("data are damaged .* download")
def muse_without_wavelength_axis(path, g):
    cubes.write_muse(path, cubes.linear_galaxy())
    fits.delval(path, "CRVAL3", ext=1)


@breaks("check the file")
def muse_without_any_data(path, g):
    cubes.write_muse(path, cubes.linear_galaxy(), ())


@breaks("truncated.* download")
def truncated_muse_cube(path, g):
    cubes.write_muse(path, cubes.linear_galaxy())
    cut(path, path.stat().st_size - 5000)


@breaks("choose one of them", index=0)
def spaxel_without_data(path, g):
    cubes.write_muse(path, cubes.linear_galaxy())


@breaks("join them")
def weave_with_both_arms(path, g):
    cubes.write_weave(path, cubes.linear_galaxy(), arms=("BLUE", "RED"))


@breaks("RED_SENSFUNC .* download")
def weave_without_sensitivity(path, g):
    cubes.write_weave(path, cubes.linear_galaxy())
    with fits.open(path) as hdus:
        del hdus["RED_SENSFUNC"]
        hdus.writeto(path, overwrite=True)


@breaks("choose one of them", index=-1)
def negative_index(path, g):
    fake.write_manga(path, g, n_rows=3)


@breaks("resolution has shape .* one value per pixel")
def manga_with_a_resolution_of_other_length(path, g):
    fake.write_manga(path, g)
    with fits.open(path) as hdus:
        hdus["SRES"].data = np.ones((1, 3))
        hdus.writeto(path, overwrite=True)
