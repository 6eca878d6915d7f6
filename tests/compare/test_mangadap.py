"""Indices are those of the data analysis pipeline of MaNGA (Westfall et al. 2019) and of pyphot."""

import numpy as np
import pytest

from sfhflow.indices import SPECTRAL_INDICES, LineIndex, measure_indices
from sfhflow.ssp import load_shipped

LINES = {name: index for name, index in SPECTRAL_INDICES.items() if isinstance(index, LineIndex)}
PYPHOT_NAMES = {
    **{name: name[:-1] + "_" + name[-1] for name in LINES if name.startswith(("Hd", "Hg", "Mg", "CN", "TiO"))},
    "Hbeta_o": "Hbeta0",
    "Hbeta": "H_beta",
    "C4668": "Fe4668",
    "NaD": "Na_D",
}


@pytest.fixture(scope="module")
def populations():
    """Wavelengths and four old and young populations."""
    library = load_shipped()
    return library.wavelength, np.stack([library.flux[age, mh] for age in (20, 44) for mh in (2, 8)])


@pytest.mark.parametrize("name", LINES)
def test_equivalent_widths_are_those_of_the_manga_pipeline(populations, name):
    passbands = pytest.importorskip("mangadap.proc.bandpassfilter", reason="sdss-mangadap is not installed")
    index, (wavelength, flux) = LINES[name], populations
    found = measure_indices(wavelength, flux, [name])[name]
    for ours, spectrum in zip(found, flux, strict=True):
        (x_blue, blue), (x_red, red) = (
            [
                np.ravel(part)[0]
                for part in passbands.pseudocontinuum(wavelength, spectrum, np.array([side]), log=False)[:2]
            ]
            for side in (index.blue, index.red)
        )
        continuum = blue + (red - blue) * (wavelength - x_blue) / (x_red - x_blue)
        inside = passbands.passband_integral(wavelength, spectrum / continuum, np.array([index.band]), log=False)
        width = np.ptp(index.band)
        theirs = -2.5 * np.log10(inside / width) if index.unit == "mag" else width - inside
        # they take the continuum at the centre of a pixel also where only a part of it counts
        assert ours == pytest.approx(float(np.ravel(theirs)[0]), abs=5e-4)


@pytest.mark.parametrize("name", ["D4000", "Dn4000"])
def test_breaks_are_those_of_the_manga_pipeline(populations, name):
    passbands = pytest.importorskip("mangadap.proc.bandpassfilter", reason="sdss-mangadap is not installed")
    index, (wavelength, flux) = SPECTRAL_INDICES[name], populations
    found = measure_indices(wavelength, flux, [name])[name]
    for ours, spectrum in zip(found, flux * wavelength**2, strict=True):
        low, high = (
            np.ravel(passbands.passband_integral(wavelength, spectrum, np.array([side]), log=False))[0]
            / np.ptp(side)
            for side in (index.blue, index.red)
        )
        assert ours == pytest.approx(high / low, rel=1e-6)


@pytest.mark.parametrize("name", LINES)
def test_bands_are_those_of_pyphot(populations, name):
    licks = pytest.importorskip("pyphot.licks", reason="pyphot is not installed")
    theirs, (wavelength, flux) = licks.LickLibrary()[PYPHOT_NAMES.get(name, name)], populations
    bands = [tuple(getattr(band, "value", band)) for band in (theirs.blue, theirs.band, theirs.red)]
    np.testing.assert_allclose(bands, [LINES[name].blue, LINES[name].band, LINES[name].red], atol=1e-3)
    # their continuum is a fit to the pixels of both bands, so that the values differ a little
    found = measure_indices(wavelength, flux, [name])[name]
    unit = "mag" if LINES[name].unit == "mag" else "ew"
    value = licks.LickIndex._get_indice(wavelength, flux, bands[0], bands[2], bands[1], unit)
    np.testing.assert_allclose(found, value, atol=0.01 if unit == "mag" else 0.25)
