"""Libraries built with FASTAR, and the proof that the shipped one is what FASTAR makes."""

import sys

import numpy as np
import pytest

from sfhflow import ssp
from sfhflow.errors import LibraryError
from sfhflow.ssp import fastar
from sfhflow.ssp.lowrank import relative_error


def test_without_fastar_the_message_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastar", None)
    with pytest.raises(LibraryError, match=r'pip install "sfhflow\[fastar\]"'):
        fastar.build(ages=[1.0], metallicities=[0.0])


@pytest.mark.parametrize("grid", [{"ages": [0.01, 1.0]}, {"metallicities": [0.5]}, {"ages": []}])
def test_a_grid_beyond_the_isochrones_is_refused(grid):
    with pytest.raises(LibraryError, match=r"FASTAR has no isochrones or stars beyond"):
        fastar.build(**grid)


@pytest.mark.slow
def test_the_shipped_grid_is_within_a_thousandth_of_fastar_everywhere():
    pytest.importorskip("fastar")
    shipped = ssp.load_shipped("fastar-kroupa")
    rng = np.random.default_rng(20)
    i = np.array([0, *np.sort(rng.choice(np.arange(1, 52), 3, replace=False)), 52])
    j = np.array([0, *np.sort(rng.choice(np.arange(1, 11), 2, replace=False)), 11])
    fresh = fastar.build(ages=shipped.ages_gyr[i], metallicities=shipped.metallicities[j])
    np.testing.assert_allclose(fresh.wavelength, shipped.wavelength, atol=1e-3)
    assert relative_error(shipped.flux[np.ix_(i, j)], fresh.flux) < 1e-3
    assert fresh.metadata["limits"] == shipped.metadata["limits"]


@pytest.mark.slow
def test_fastar_luminosities_match_its_own_mass_to_light_ratios():
    module = pytest.importorskip("fastar")
    imf = pytest.importorskip("fastar.imf")
    synthesizer = module.IntegratedSSPSynthesizer(imf_function=imf.kroupa)
    response, wavelength = np.array(synthesizer.filter_response), np.array(synthesizer.wave, dtype=float)
    library = fastar.build(ages=[1.0, 10.0], metallicities=[0.06])
    # L_V / Lsun,V of the Sun's own spectrum in the same unit.
    sun = np.array(synthesizer.sun_spec, dtype=float) * fastar.SOLAR_UNITS
    weight = response * wavelength
    luminosity = np.sum(library.flux[:, 0] * weight, axis=-1) / np.sum(sun * weight)
    expected = [float(synthesizer.mass_to_light_ratio(age, 0.06)["total"]) for age in (1.0, 10.0)]
    np.testing.assert_allclose(1.0 / luminosity, expected, rtol=0.01)


@pytest.mark.slow
def test_initial_mass_functions_hold_one_solar_mass_and_unknown_ones_are_refused():
    pytest.importorskip("fastar")
    registry = pytest.importorskip("fastar.imf.registry").IMFRegistry()
    mass = np.geomspace(0.1, 100, 20_000)
    for name in ("kroupa", "chabrier", "single_power_law"):
        phi = np.array(registry[name](mass, {}), dtype=float)
        assert np.trapezoid(phi * mass, mass) == pytest.approx(1.0, rel=0.02)
    with pytest.raises(LibraryError, match="'scalo'"):
        fastar.build("scalo", ages=[1.0], metallicities=[0.0])


@pytest.mark.slow
def test_a_bottom_heavy_mass_function_gives_less_light():
    pytest.importorskip("fastar")
    calls = []
    grid = {"ages": [10.0], "metallicities": [0.0]}
    kroupa = fastar.build(**grid, progress=lambda done, total: calls.append((done, total)))
    salpeter = fastar.build("single_power_law", **grid, imf_parameters={"alpha": 2.35})
    assert calls == [(1, 1)]
    # Old light comes from stars of about 1 Msun.  Their number for each Msun formed, phi(1), follows from
    # int m phi dm = 1 over 0.1-100 Msun: 0.2245 for Kroupa, 0.1716 for Salpeter.
    ratio = kroupa.flux.mean() / salpeter.flux.mean()
    assert ratio == pytest.approx(0.2245 / 0.1716, rel=0.05)
    assert salpeter.metadata["imf_parameters"] == "alpha=2.35"
