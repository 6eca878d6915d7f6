"""Broken files: each is refused in one sentence that names the file and the way out."""

import os
import re
import time
from contextlib import contextmanager

import numpy as np
import pytest

import broken_layouts
import fake_cubes as cubes
import fake_files as fake
from broken_values import BREAKERS, STATED, text
from sfhflow.errors import SpectrumError
from sfhflow.readers import read_spectrum


@contextmanager
def rights_for(case):
    """Read as an ordinary user where permissions matter, since the superuser may read every file."""
    user = os.geteuid()
    if user == 0 and case == "file without permission":
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_there_are_well_over_sixty_ways_to_break_a_file():
    assert broken_layouts.directory.__name__ in BREAKERS
    assert len(BREAKERS) > 100


@pytest.mark.parametrize("case", BREAKERS)
def test_a_broken_file_is_refused_in_one_sentence_with_its_name_and_cure(tmp_path, case):
    write, cure, options = BREAKERS[case]
    path = tmp_path / "coadd-broken.fits"
    write(path, fake.Galaxy())
    with rights_for(case), pytest.raises(SpectrumError) as caught:
        read_spectrum(path, **options)
    message = str(caught.value)
    assert path.name in message or any(flag in message for flag in ("--resolution", "--fwhm", "--ebv", "--snr"))
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


ONE = ((1, 1),)
WHOLE = {
    "sdss": fake.write_sdss,
    "spspec": fake.write_spspec,
    "manga": fake.write_manga,
    "manga dap": lambda path, g: cubes.write_dap(path, g, ((-1, 0),)),
    "califa": lambda path, _: cubes.write_califa(path, cubes.linear_galaxy(2.0), ONE),
    "muse": lambda path, _: cubes.write_muse(path, cubes.linear_galaxy(), ONE),
    "eso": fake.write_eso,
}


@pytest.mark.parametrize("layout", WHOLE)
def test_a_fits_file_cut_anywhere_is_refused_or_still_whole_in_what_matters(tmp_path, layout):
    path = tmp_path / "cut.fits"
    WHOLE[layout](path, fake.Galaxy())
    whole, data = read_spectrum(path), path.read_bytes()
    for fraction in np.linspace(0.02, 0.98, 25):
        broken_layouts.cut(path, int(fraction * len(data)))
        outcome = attempt(path)
        path.write_bytes(data)
        if isinstance(outcome, SpectrumError):
            assert "cut.fits" in str(outcome)
        else:
            np.testing.assert_array_equal(outcome.flux, whole.flux)
            np.testing.assert_array_equal(outcome.ivar, whole.ivar)


LOG_AXIS = {"CRVAL1": 3.65, "CDELT1": 1e-4}
FUZZED = WHOLE | {
    "desi": lambda path, _: fake.write_desi(path),
    "weave": lambda path, _: cubes.write_weave(path, cubes.linear_galaxy(), n_rows=1),
    "table": lambda path, g: fake.write_table(path, {"wave": g.wavelength, "flux": g.flux, "err": g.error}),
    "wcs": lambda path, g: fake.write_wcs(path, g.flux, LOG_AXIS, extensions={"ERR": g.error}),
    "text": lambda path, g: text(path, g.wavelength, g.flux, g.error),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", FUZZED)
def test_flipped_bytes_never_escape_as_another_error(tmp_path, layout):
    path, rng = tmp_path / "noisy.fits", np.random.default_rng(1)
    FUZZED[layout](path, fake.Galaxy())
    data = np.frombuffer(path.read_bytes(), dtype="u1")
    printable = np.flatnonzero((data > 32) & (data < 127))
    for i in range(60):
        noisy = data.copy()
        # mostly in the headers, among the characters that are written there
        places = rng.choice(printable[: 1500 if i % 2 else None], 5)
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


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_huge_and_tiny_fluxes_are_not_broken(tmp_path, scale):
    galaxy = fake.Galaxy()
    text(tmp_path / "a.txt", galaxy.wavelength, galaxy.flux * scale, galaxy.error * scale)
    spectrum = read_spectrum(tmp_path / "a.txt")
    np.testing.assert_allclose(spectrum.flux, galaxy.flux * scale, rtol=1e-9)
    assert spectrum.snr == pytest.approx(np.median(galaxy.flux / galaxy.error))


def test_a_million_pixels_are_read_in_a_moment(tmp_path):
    wavelength = np.linspace(3500.0, 9500.0, 1_000_000)
    flux, error = fake.shape_at(wavelength)
    fake.write_table(tmp_path / "a.fits", {"wave": wavelength, "flux": flux, "err": error}, header=STATED)
    start = time.perf_counter()
    spectrum = read_spectrum(tmp_path / "a.fits")
    assert time.perf_counter() - start < 20
    np.testing.assert_array_equal(spectrum.flux, flux)
