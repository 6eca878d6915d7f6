"""Readers: what is in the file comes out, in the right place, frame, medium and unit."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fake_cubes as cubes
import fake_files as fake
from sfhflow.errors import SpectrumError
from sfhflow.readers import READERS, bits, iter_spectra, opening, read_spectra, read_spectrum

OBSERVED = ["# wavelength in vacuum, redshift = 0.0625"]


@pytest.fixture
def galaxy():
    return fake.Galaxy()


def columns(galaxy):
    return {"wave": galaxy.wavelength, "flux": galaxy.flux, "err": galaxy.error}


STATED = {"VACUUM": True, "Z": fake.REDSHIFT}
LOG_WCS = {"CRVAL1": 3.65, "CDELT1": 1e-4, "DC-FLAG": 1, **STATED}
ONE = ((1, 1),)
LOG_FORMATS = {
    "sdss": fake.write_sdss,
    "spspec": fake.write_spspec,
    "manga": fake.write_manga,
    "manga_dap": lambda p, g: cubes.write_dap(p, g, ((-1, 0),)),
    "images": fake.write_named_images,
    "eso": lambda p, g: fake.write_eso(p, g, QUAL=None, types={"WAVE": ("a:Data.SpectralAxis.Value", "em.wl")}),
    "table": lambda p, g: fake.write_table(p, columns(g), header=STATED),
    "wcs1d": lambda p, g: fake.write_wcs(p, g.flux, LOG_WCS, extensions={"ERROR": g.error}),
    "text": lambda p, g: fake.write_text(p, columns(g).values(), comments=OBSERVED),
}
LINEAR_FORMATS = {
    "califa": lambda p, g: cubes.write_califa(p, g, ONE, bad=[]),
    "muse": lambda p, g: cubes.write_muse(p, g, ONE),
    "weave": lambda p, g: cubes.write_weave(p, g, n_rows=1),
}
FORMATS = LOG_FORMATS | LINEAR_FORMATS


@pytest.mark.parametrize("reader", FORMATS)
@pytest.mark.parametrize("name", ["galaxy.fits", "galaxy", "galaxy.txt.gz"])
def test_every_format_is_recognised_by_content_and_gives_back_the_galaxy(tmp_path, reader, name):
    galaxy = cubes.linear_galaxy() if reader in LINEAR_FORMATS else fake.Galaxy()
    plain = tmp_path / "written"
    FORMATS[reader](plain, galaxy)
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()) if name.endswith(".gz") else plain.read_bytes())
    # WEAVE's files have no redshift
    spectrum = read_spectrum(path, redshift=fake.REDSHIFT if reader == "weave" else None)
    np.testing.assert_allclose(spectrum.wavelength, galaxy.wavelength, rtol=2e-6)
    np.testing.assert_allclose(spectrum.flux, galaxy.flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.error, galaxy.error, rtol=1e-6)
    assert spectrum.redshift == pytest.approx(fake.REDSHIFT, rel=1e-6)
    assert spectrum.medium == ("air" if reader in LINEAR_FORMATS else "vacuum")
    assert spectrum.name == "galaxy"
    assert spectrum.meta["reader"] == reader
    assert spectrum.meta["file"] == name
    assert not spectrum.mask.any()


def test_every_reader_is_exercised_and_registered():
    assert {*FORMATS, "desi", "prospector"} == {reader.NAME for reader in READERS}


@pytest.mark.parametrize("reader", [*FORMATS, "desi"])
def test_a_large_fits_file_is_mapped_with_the_same_result(tmp_path, monkeypatch, reader):
    galaxy = cubes.linear_galaxy() if reader in LINEAR_FORMATS else fake.Galaxy()
    path = tmp_path / "a.fits"
    (FORMATS[reader] if reader in FORMATS else lambda p, g: fake.write_desi(p))(path, galaxy)
    copied = read_spectrum(path, redshift=0.1)
    monkeypatch.setattr(opening, "_MAP_ABOVE_BYTES", 0)
    mapped = read_spectrum(path, redshift=0.1)
    for name in ("wavelength", "flux", "ivar", "mask"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(copied, name))
    path.write_bytes(path.read_bytes()[:-2881])
    if reader != "text":
        with pytest.raises(SpectrumError, match="truncated"):
            read_spectrum(path, redshift=0.1)


def test_one_spectrum_of_a_large_cube_costs_little_time_and_memory(tmp_path, monkeypatch):
    galaxy = cubes.linear_galaxy()
    shape = (120, 150)
    cubes.write_muse(tmp_path / "cube.fits", galaxy, [(y, x) for y in range(120) for x in range(150)], shape=shape)
    monkeypatch.setattr(opening, "_MAP_ABOVE_BYTES", 0)
    size = (tmp_path / "cube.fits").stat().st_size
    tracemalloc.start()
    first = next(iter_spectra(tmp_path / "cube.fits"))
    last = read_spectrum(tmp_path / "cube.fits", index=17999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first[:2] == (0, "cube_0")
    np.testing.assert_allclose(last.flux, 18000 * galaxy.flux, rtol=1e-6)
    assert peak < 0.6 * size


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


def test_a_correction_for_galactic_dust_is_applied_once_and_noted(tmp_path, galaxy):
    fake.write_sdss(tmp_path / "a.fits", galaxy)
    plain, corrected = read_spectrum(tmp_path / "a.fits"), read_spectrum(tmp_path / "a.fits", ebv=0.1)
    (_, _, listed) = next(iter_spectra(tmp_path / "a.fits", ebv=0.1))
    (also,) = read_spectra(tmp_path / "a.fits", ebv=0.1)
    assert np.all(corrected.flux > 1.2 * plain.flux)
    np.testing.assert_allclose(corrected.flux / corrected.error, plain.flux / plain.error)
    assert corrected.meta["ebv"] == listed.meta["ebv"] == also.meta["ebv"] == "0.1"
    assert "ebv" not in plain.meta


def test_the_documentation_names_every_reader_and_every_mask_bit():
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    for reader in READERS:
        assert f"`{reader.NAME}`" in page
    for survey in (bits.SPPIXMASK_BAD, bits.DRP3PIXMASK_BAD, bits.DAPSPECMASK_BAD):
        for name, bit in survey.items():
            assert f"{name} {bit}" in page
