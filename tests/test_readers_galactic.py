"""The dust of the Milky Way: the curve against published numbers, and what the correction does to a spectrum."""

import sys
import types

import numpy as np
import pytest

import sfhflow
from sfhflow.errors import InputError, SpectrumError
from sfhflow.readers.dustmap import map_ebv
from sfhflow.readers.galactic import deredden, milky_way_extinction

# Fitzpatrick 1999, table 3: wavelength in Angstrom, A(lambda) / E(B-V) for R_V = 3.1
PUBLISHED = [
    (26500, 0.265),
    (12200, 0.829),
    (6000, 2.688),
    (5470, 3.055),
    (4670, 3.806),
    (4110, 4.315),
    (2700, 6.265),
    (2600, 6.591),
]
# Cardelli, Clayton & Mathis 1989, table 3: A(lambda) / A(V) for R_V = 3.1, another curve of the same Galaxy
OTHER = [(3650, 1.569), (4400, 1.337), (5500, 1.0), (12500, 0.282), (22000, 0.114)]


OPTICAL = np.linspace(3500.0, 9500.0, 601)


def spectrum(wavelength=OPTICAL, **given):
    flux = 1 + wavelength / 5000
    return sfhflow.Spectrum(wavelength, flux, np.full(len(wavelength), 400.0), 0.1, **given)


@pytest.mark.parametrize(("wavelength", "expected"), PUBLISHED)
def test_the_extinction_curve_is_the_published_one(wavelength, expected):
    assert milky_way_extinction(wavelength) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("wavelength", "expected"), OTHER)
def test_the_extinction_curve_agrees_with_another_of_the_same_galaxy_to_ten_percent(wavelength, expected):
    assert milky_way_extinction(wavelength) / 3.1 == pytest.approx(expected, rel=0.1)


def test_the_colour_excess_of_the_curve_is_one_by_definition():
    # at the effective wavelengths of the B and V bands
    assert milky_way_extinction(4405) - milky_way_extinction(5470) == pytest.approx(1.0, abs=0.02)


def test_the_curve_is_smooth_over_the_optical_and_has_the_bump_at_2175():
    optical = milky_way_extinction(np.arange(3300, 10000, 10.0))
    assert np.all(np.diff(optical) < 0)
    assert np.all(np.abs(np.diff(optical, 2)) < 2e-4)
    ultraviolet = np.arange(1900.0, 2500.0)
    assert ultraviolet[np.argmax(milky_way_extinction(ultraviolet))] == pytest.approx(2175, abs=25)


def test_a_reddened_spectrum_is_recovered_with_its_signal_to_noise_ratio():
    truth = spectrum(mask=np.arange(601) < 5, resolution=2000.0, name="g", medium="air")
    screen = 10 ** (-0.4 * 0.2 * milky_way_extinction(truth.wavelength))
    seen = sfhflow.Spectrum(
        truth.wavelength,
        truth.flux * screen,
        truth.ivar / screen**2,
        0.1,
        mask=truth.mask,
        resolution=2000.0,
        name="g",
        medium="air",
        meta={"file": "g.fits"},
    )
    found = deredden(seen, 0.2)
    np.testing.assert_allclose(found.flux, truth.flux, rtol=1e-12)
    np.testing.assert_allclose(found.ivar, truth.ivar, rtol=1e-12)
    np.testing.assert_array_equal(found.mask, truth.mask)
    assert found.snr == pytest.approx(seen.snr)
    assert (found.name, found.medium, found.meta["file"], found.meta["ebv"]) == ("g", "air", "g.fits", "0.2")
    assert "Fitzpatrick" in found.meta["extinction_curve"]


def test_no_dust_changes_nothing_but_is_noted():
    found = deredden(spectrum(), 0.0)
    np.testing.assert_array_equal(found.flux, spectrum().flux)
    assert found.meta["ebv"] == "0"


@pytest.mark.parametrize("ebv", [-0.1, np.nan, np.inf, 3.2])
def test_a_senseless_colour_excess_is_refused(ebv):
    with pytest.raises(SpectrumError, match=r"--ebv is .*expected E\(B-V\).*divide A_V by 3\.1"):
        deredden(spectrum(), ebv)


def test_a_spectrum_is_corrected_only_once():
    with pytest.raises(SpectrumError, match=r"found a correction for E\(B-V\) = 0\.1 already.*only once"):
        deredden(deredden(spectrum(), 0.1), 0.1)


def test_the_far_ultraviolet_is_refused():
    with pytest.raises(SpectrumError, match="begin at 950 Angstrom, expected at least 1000"):
        deredden(spectrum(np.linspace(950.0, 2000.0, 300)), 0.1)


# --- E(B-V) from a map --------------------------------------------------------------------------------------


class Map:
    """In the place of dustmaps.sfd: E(B-V) grows with the distance from the pole, and nothing else."""

    class SFDQuery:
        def __call__(self, position):
            return 0.01 * (90.0 - position.icrs.dec.deg)


def test_the_map_is_brought_to_the_scale_of_the_correction(monkeypatch):
    monkeypatch.setitem(sys.modules, "dustmaps", types.ModuleType("dustmaps"))
    monkeypatch.setitem(sys.modules, "dustmaps.sfd", Map)
    assert map_ebv(ra=10.0, dec=80.0) == pytest.approx(0.86 * 0.1)
    for ra, dec in ((-1, 0), (400, 0), (10, 91), (np.nan, 0)):
        with pytest.raises(SpectrumError, match="not on the sky"):
            map_ebv(ra=ra, dec=dec)


def test_a_map_that_is_not_there_says_how_to_get_it(monkeypatch):
    def missing():
        raise FileNotFoundError("SFD_dust_4096_ngp.fits")

    monkeypatch.setitem(sys.modules, "dustmaps", types.ModuleType("dustmaps"))
    monkeypatch.setitem(sys.modules, "dustmaps.sfd", types.SimpleNamespace(SFDQuery=missing))
    with pytest.raises(SpectrumError, match=r"SFD_dust.*dustmaps\.sfd\.fetch"):
        map_ebv(ra=10.0, dec=80.0)
    monkeypatch.setitem(sys.modules, "dustmaps.sfd", None)
    with pytest.raises(InputError, match=r"sfhflow\[dustmaps\]"):
        map_ebv(ra=10.0, dec=80.0)
