"""SSP libraries: the record, the shipped grid, storage, readers."""

import io
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from sfhflow import ssp
from sfhflow.errors import LibraryError
from sfhflow.ssp import miles, ppxf_npz
from sfhflow.ssp.lowrank import relative_error


@pytest.fixture(scope="module")
def shipped():
    return ssp.load_shipped("fastar-kroupa")


@pytest.fixture
def toy():
    rng = np.random.default_rng(1)
    flux = rng.uniform(0.5, 2.0, (4, 3, 50))
    return ssp.SSPLibrary(
        "toy",
        [0.1, 1.0, 3.0, 10.0],
        [-1.0, 0.0, 0.3],
        np.linspace(4000, 5000, 50),
        flux,
        2.5,
        "air",
        {"a": "b"},
    )


def band(library, low, high):
    inside = (library.wavelength >= low) & (library.wavelength <= high)
    return library.flux[..., inside].mean(axis=-1)


def d4000(library):
    return band(library, 4050, 4250) / band(library, 3750, 3950)


def equivalent_width(library, blue, line, red):
    """Index of a Lick-like definition: the continuum is a line through the means of two side bands."""
    b, m, r = np.mean(blue), np.mean(line), np.mean(red)
    continuum = (band(library, *blue) * (r - m) + band(library, *red) * (m - b)) / (r - b)
    return (1 - band(library, *line) / continuum) * (line[1] - line[0])


def mgb(library):
    return equivalent_width(library, (5117.6, 5142.6), (5160.1, 5192.6), (5191.4, 5206.4))


def h_delta(library):
    return equivalent_width(library, (4041.6, 4081.5), (4083.5, 4122.3), (4128.5, 4161.0))


def test_interpolation_reproduces_the_nodes_and_is_linear_in_log_age_and_metallicity(toy):
    age, mh = np.meshgrid(toy.ages_gyr, toy.metallicities, indexing="ij")
    np.testing.assert_allclose(toy.interpolate(age, mh), toy.flux, rtol=1e-12)
    middle = toy.interpolate(np.sqrt(3.0 * 10.0), 0.15)
    np.testing.assert_allclose(middle, toy.flux[2:4, 1:3].mean(axis=(0, 1)), rtol=1e-12)
    assert toy.interpolate(np.ones((2, 1)), np.zeros(5)).shape == (2, 5, 50)


@pytest.mark.parametrize(("age", "mh"), [(0.09, 0.0), (10.1, 0.0), (1.0, -1.1), (1.0, 0.31), (np.nan, 0), (-1, 0)])
def test_nothing_is_extrapolated(toy, age, mh):
    with pytest.raises(LibraryError, match="not extrapolated"):
        toy.interpolate(age, mh)


def test_a_cut_keeps_the_window_and_its_line_spread_function(toy):
    wide = replace(toy, fwhm=np.linspace(2, 3, 50))
    cut = wide.cut(4200, 4400)
    assert cut.wavelength[0] >= 4200
    assert cut.wavelength[-1] <= 4400
    np.testing.assert_array_equal(cut.fwhm, np.interp(cut.wavelength, wide.wavelength, wide.fwhm))
    np.testing.assert_array_equal(cut.interpolate(2.0, 0.1), wide.interpolate(2.0, 0.1)[10:20])
    with pytest.raises(LibraryError, match="widen"):
        toy.cut(6000, 7000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ages_gyr": [1.0, 0.1, 3.0, 10.0]}, "ages_gyr is not strictly rising"),
        ({"ages_gyr": [0.0, 0.1, 3.0, 10.0]}, "ages_gyr holds invalid"),
        ({"metallicities": [np.nan, 0.0, 1.0]}, "metallicities holds invalid"),
        ({"flux": np.ones((3, 4, 50))}, "flux has shape"),
        ({"flux": -np.ones((4, 3, 50))}, "negative"),
        ({"flux": np.zeros((4, 3, 50))}, "zero everywhere"),
        ({"fwhm": np.ones(7)}, "fwhm"),
        ({"fwhm": 0.0}, "fwhm"),
        ({"medium": "glass"}, "medium"),
    ],
)
def test_an_invalid_library_cannot_exist(toy, change, message):
    with pytest.raises(LibraryError, match=message):
        replace(toy, **change)


def test_the_low_rank_form_keeps_its_promise_with_the_smallest_rank(shipped):
    flux = shipped.flux[::4, ::3, ::5]
    for tolerance in (1e-2, 1e-4):
        lowrank = ssp.compress(flux, tolerance=tolerance)
        rank = len(lowrank.basis)
        assert relative_error(ssp.expand(lowrank), flux) <= tolerance
        assert relative_error(ssp.expand(ssp.compress(flux, rank=rank - 1)), flux) > tolerance
    assert relative_error(2 * flux, flux) == pytest.approx(1.0)


def test_a_stored_library_comes_back(toy, tmp_path):
    wide = replace(toy, fwhm=np.linspace(2, 3, 50), medium="vacuum")
    for library in (toy, wide):
        path = tmp_path / "sub" / "toy.safetensors"
        ssp.save(library, path)
        back = ssp.open_library(path)
        np.testing.assert_allclose(back.flux, library.flux, rtol=1e-4)
        for key in ("ages_gyr", "metallicities", "wavelength", "fwhm"):
            np.testing.assert_array_equal(getattr(back, key), getattr(library, key))
        assert (back.name, back.medium, back.metadata) == (library.name, library.medium, {"a": "b"})


def test_files_that_are_no_library_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(LibraryError, match="no such file"):
        ssp.load(path)
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(LibraryError, match=r"x\.safetensors: not readable"):
        ssp.load(path)
    with pytest.raises(LibraryError, match="fastar-kroupa"):
        ssp.load_shipped("bc03")
    with pytest.raises(LibraryError, match="not an SSP library"):
        ssp.open_library("no-such-library")


def test_the_shipped_grid_is_the_grid_of_the_miles_models(shipped):
    assert shipped.shape == (53, 12, 4300)
    assert (shipped.ages_gyr[0], shipped.ages_gyr[-1]) == (0.03, 14.0)
    assert (shipped.metallicities[0], shipped.metallicities[-1]) == (-2.27, 0.40)
    np.testing.assert_allclose(np.diff(shipped.wavelength), 0.9, atol=1e-9)
    assert (shipped.medium, shipped.fwhm) == ("air", 2.51)
    assert "+0.3" in shipped.metadata["limits"]
    assert "extrapolated" in shipped.metadata["limits"]
    assert shipped.metadata["imf"] == "kroupa"


def test_the_shipped_grid_loads_without_astropy_or_jax():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['astropy', 'jax', 'fastar', 'matplotlib'])); "
        "from sfhflow import ssp; sys.exit(ssp.load_shipped().shape != (53, 12, 4300))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_populations_fade_and_redden_as_they_age(shipped):
    decades = shipped.interpolate(np.array([0.03, 0.1, 0.3, 1.0, 3.0, 10.0])[:, None], shipped.metallicities)
    visual = decades[..., (shipped.wavelength > 5000) & (shipped.wavelength < 6000)].mean(axis=-1)
    assert np.all(np.diff(visual, axis=0) < 0)
    break_ = d4000(shipped)
    some = np.searchsorted(shipped.ages_gyr, [0.1, 0.5, 2.0, 10.0])
    assert np.all(np.diff(break_[some], axis=0) > 0)


def test_metal_rich_old_populations_have_stronger_breaks_and_magnesium_lines(shipped):
    old = shipped.ages_gyr >= 5
    assert np.all(np.diff(d4000(shipped)[old], axis=1) > -0.02)
    assert np.all(d4000(shipped)[old, -1] > 1.5 * d4000(shipped)[old, 0])
    assert np.all(np.diff(mgb(shipped)[old], axis=1) > 0)


def test_balmer_absorption_is_strongest_when_a_stars_dominate(shipped):
    solar = np.abs(shipped.metallicities - 0.06).argmin()
    strongest = shipped.ages_gyr[h_delta(shipped)[:, solar].argmax()]
    assert 0.1 <= strongest <= 1.0


def test_lines_lie_at_their_wavelengths_in_air(shipped):
    young = shipped.interpolate(0.4, 0.06)
    for line in (4101.73, 4340.46, 4861.32):
        near = np.abs(shipped.wavelength - line) < 12
        depth = young[near].max() - young[near]
        centre = np.sum(shipped.wavelength[near] * depth**3) / np.sum(depth**3)
        assert centre == pytest.approx(line, abs=0.7)  # vacuum would be 1.2-1.4 Angstrom away


def test_luminosities_are_for_one_solar_mass_formed(shipped):
    # The Sun (M_V = 4.82, so 4.28e-11 erg/s/cm2/A at 10 pc) emits 1.34e-4 Lsun per Angstrom in V.  With a
    # Kroupa mass function, mass formed over L_V is 0.1-0.3 at 0.1 Gyr and 4-8 at 10 Gyr, at solar [M/H].
    visual = (shipped.wavelength > 5300) & (shipped.wavelength < 5800)
    ratio = 1.34e-4 / shipped.interpolate([0.1, 10.0], 0.0)[:, visual].mean(axis=1)
    assert 0.1 < ratio[0] < 0.3
    assert 4 < ratio[1] < 8


def miles_name(mh, age, start="Iku1.30", end="_iTp0.00_baseFe"):
    return f"{start}Z{'m' if mh < 0 else 'p'}{abs(mh):.2f}T{age:07.4f}{end}.fits"


def miles_bytes(flux, start=3464.9, step=0.9):
    hdu = fits.PrimaryHDU(np.asarray(flux, dtype=np.float32))
    hdu.header["CRVAL1"], hdu.header["CDELT1"], hdu.header["CRPIX1"] = start, step, 1
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    return buffer.getvalue()


AGES, METALLICITIES = (0.03, 1.0, 12.5), (-1.26, 0.06)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "grid"
    root.mkdir()
    for age in AGES:
        for mh in METALLICITIES:
            (root / miles_name(mh, age)).write_bytes(miles_bytes(np.full(1000, age * 10**mh)))
    (root / "readme.txt").write_text("not a spectrum")
    return root


def test_miles_files_are_read_from_a_folder_and_from_tar_files(folder, tmp_path):
    sources = [folder]
    for suffix in (".tar", ".tar.gz"):
        sources.append(tmp_path / f"grid{suffix}")
        with tarfile.open(sources[-1], "w:gz" if suffix.endswith("gz") else "w") as archive:
            archive.add(folder, arcname="MIUSCAT/grid")
    for source in sources:
        library = ssp.open_library(source)
        np.testing.assert_array_equal(library.ages_gyr, AGES)
        np.testing.assert_array_equal(library.metallicities, METALLICITIES)
        expected = np.multiply.outer(AGES, 10.0 ** np.array(METALLICITIES))
        np.testing.assert_allclose(library.flux, expected[..., None] * np.ones(1000), rtol=1e-6)
        np.testing.assert_allclose(library.wavelength[[0, -1]], [3464.9, 3464.9 + 0.9 * 999])
        assert (library.fwhm, library.medium) == (2.51, "air")
        assert library.metadata["isochrones"] == "BaSTI"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Mun1.30Zp0.06T10.0000_iPp0.00_baseFe.fits", ("MILES", "un1.30", "Padova", "baseFe", 10.0, 0.06)),
        ("Mbi1.30Zp0.40T14.0000_iTp0.40_Ep0.40.fits", ("MILES", "bi1.30", "BaSTI", "Ep0.40", 14.0, 0.4)),
        (
            "Ech1.30Zm0.40T00.0631_iPp0.00_baseFe_linear_FWHM_variable.fits",
            ("E-MILES", "ch1.30", "Padova", "baseFe", 0.0631, -0.4),
        ),
        ("._Mun1.30Zp0.06T10.0000_iPp0.00_baseFe.fits", None),
    ],
)
def test_names_of_the_miles_family_are_understood(name, model):
    assert miles._parse(name) == model


def test_the_resolution_of_e_miles_varies_with_wavelength(tmp_path):
    name = miles_name(0.06, 1.0, start="Ech1.30", end="_iPp0.00_baseFe_linear_FWHM_variable")
    (tmp_path / name).write_bytes(miles_bytes(np.ones(9000), start=1680.2))
    library = miles.read(tmp_path)
    at = [np.abs(library.wavelength - x).argmin() for x in (2000, 3300, 5000, 9500)]
    # FWHM = 2.355 sigma, with sigma = 60 km/s x 9500 / c = 1.90 Angstrom.
    np.testing.assert_allclose(np.asarray(library.fwhm)[at], [3.0, 5.0, 2.51, 2.355 * 1.901], rtol=2e-3)


def test_a_folder_of_several_kinds_must_be_narrowed(folder):
    for age in AGES:
        for mh in METALLICITIES:
            name = miles_name(mh, age, start="Iun1.30", end="_iPp0.00_Ep0.40")
            (folder / name).write_bytes(miles_bytes(np.full(1000, 7.0)))
    with pytest.raises(LibraryError, match="2 kinds"):
        miles.read(folder)
    for selection in ({"imf": "un1.30"}, {"isochrones": "Padova"}, {"alpha": "Ep0.40"}):
        assert np.all(miles.read(folder, **selection).flux == 7.0)
    with pytest.raises(LibraryError, match=r"no MILES models of imf=ch1\.30"):
        miles.read(folder, imf="ch1.30")


def test_a_hole_in_the_grid_is_named(folder):
    (folder / miles_name(-1.26, 1.0)).unlink()
    with pytest.raises(LibraryError, match=r"1 of 3 ages x 2 metallicities .*Zm1\.26T01\.0000"):
        miles.read(folder)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "nan", "other grid", "no wavelength"])
def test_a_damaged_file_is_named(folder, damage):
    path = folder / miles_name(0.06, 1.0)
    good = path.read_bytes()
    bad = {
        "truncated": good[:4000],
        "empty": b"",
        "text": b"404 not found",
        "nan": miles_bytes(np.full(1000, np.nan)),
        "other grid": miles_bytes(np.ones(1000), start=3540.5),
        "no wavelength": good.replace(b"CDELT1", b"XDELT1"),
    }[damage]
    path.write_bytes(bad)
    with pytest.raises(LibraryError, match=r"Zp0\.06T01\.0000|T01\.0000_iTp0\.00_baseFe\.fits|differ"):
        miles.read(folder)


def test_a_damaged_tar_and_a_duplicate_are_named(folder, tmp_path):
    path = tmp_path / "grid.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(LibraryError, match=r"grid\.tar\.gz"):
        miles.read(path)
    (folder / "copy").mkdir()
    (folder / "copy" / miles_name(0.06, 1.0)).write_bytes(miles_bytes(np.ones(1000)))
    with pytest.raises(LibraryError, match="same population"):
        miles.read(folder)


def test_ppxf_grids_are_read(tmp_path, toy):
    arrays = {
        "templates": np.moveaxis(toy.flux, -1, 0),
        "lam": toy.wavelength,
        "ages": toy.ages_gyr,
        "metals": toy.metallicities,
        "fwhm": np.full(50, 2.5),
        "masses": np.ones((4, 3)),
    }
    path = tmp_path / "spectra_fsps_9.0.npz"
    np.savez(path, **arrays)
    library = ssp.open_library(path)
    np.testing.assert_array_equal(library.flux, toy.flux)
    assert library.medium == "vacuum"
    np.savez(tmp_path / "spectra_emiles_9.0.npz", **{**arrays, "fwhm": 2.5})
    library = ppxf_npz.read(tmp_path / "spectra_emiles_9.0.npz")
    assert (library.medium, library.fwhm) == ("air", 2.5)
    del arrays["ages"]
    np.savez(path, **arrays)
    with pytest.raises(LibraryError, match="ages missing"):
        ppxf_npz.read(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(LibraryError, match="download it again"):
        ppxf_npz.read(path)


def test_the_shipped_grid_agrees_with_the_miuscat_models(shared_data, shipped):
    folder = shared_data / "ssp" / "miuscat_basti_ku1.30"
    if not folder.is_dir():
        pytest.skip(f"no MIUSCAT models at {folder}")
    miuscat = ssp.open_library(folder)
    assert miuscat.shape == (53, 12, 6672)
    np.testing.assert_array_equal(miuscat.ages_gyr, shipped.ages_gyr)
    np.testing.assert_array_equal(miuscat.metallicities, shipped.metallicities)
    np.testing.assert_allclose(miuscat.wavelength[[0, -1]], [3464.9, 9468.8])
    assert miuscat.name == "MIUSCAT-ku1.30-BaSTI-baseFe"

    old = shipped.ages_gyr >= 1
    visual = band(shipped, 5000, 6000) / band(miuscat, 5000, 6000)
    assert np.median(np.abs(visual - 1)) < 0.15
    assert np.abs(visual - 1).max() < 0.45
    assert np.abs(visual[old] - 1).max() < 0.30
    break_ = d4000(shipped) / d4000(miuscat)
    assert np.median(np.abs(break_ - 1)) < 0.02
    assert np.abs(break_[old] - 1).max() < 0.10
    magnesium = mgb(shipped)[old] / mgb(miuscat)[old]
    assert np.median(np.abs(magnesium - 1)) < 0.10
