"""Readers on real files of the surveys: redshifts, noise, resolution, masks and the medium are those known."""

import warnings
from importlib import metadata

import numpy as np
import pytest
from astropy.io import fits

from sfhflow.errors import SpectrumError
from sfhflow.readers import read_spectra, read_spectrum

REAL = {  # file: redshift, signal-to-noise ratio, passive with a clear Ca K line
    "spec-0403-51871-0462.fits": (0.137, 17, True),
    "spec-0266-51602-0001.fits": (0.0213, 37, True),
    "NGC4636_SDSS_DR12.fits": (0.00303, 49, True),
    "spec-4055-55359-0006.fits": (0.214, 26, True),
    "spec-1014-52707-0584.fits": (0.075, 18, False),
    "spec-2101-53858-0220.fits": (0.0726, 40, False),
    "sdss_dr18_0358-51818-0504.fits": (0.0472, 22, False),
    "spSpec-52143-0650-180.fit": (0.0915, 21, True),
}
CA_K_AIR, NA_D_AIR = 3933.66, (5889.95, 5895.92)


def vacuum(air_aa):
    """Morton 2000, ApJS 130, 403, eq. 8, inverted to first order."""
    s2 = (1e4 / np.asarray(air_aa)) ** 2
    return air_aa * (1 + 8.34254e-5 + 2.406147e-2 / (130 - s2) + 1.5998e-4 / (38.9 - s2))


def line_centre(spectrum, guess_aa, half_width_aa=12.0):
    """Centroid of the absorption near a rest wavelength, below the straight line between its sides."""
    rest, flux = spectrum.rest_wavelength, spectrum.flux
    near = (abs(rest - guess_aa) < half_width_aa) & ~spectrum.mask
    depth = np.quantile(flux[near], 0.8) - flux[near]
    weight = np.clip(depth - 0.5 * depth.max(), 0, None)
    return np.sum(rest[near] * weight) / np.sum(weight)


@pytest.mark.parametrize("name", REAL)
def test_real_sdss_spectra_have_the_known_redshift_noise_and_resolution(shared_data, name):
    redshift, snr, _ = REAL[name]
    spectrum = read_spectrum(shared_data / "galaxies" / name)
    assert spectrum.redshift == pytest.approx(redshift, abs=6e-4)
    assert spectrum.snr == pytest.approx(snr, rel=0.15)
    assert np.all(np.diff(spectrum.wavelength) > 0)
    assert 1500 < np.median(spectrum.resolution) < 2500
    assert spectrum.medium == "vacuum"
    assert spectrum.meta["class"] == "GALAXY"


@pytest.mark.parametrize("name", [name for name, (_, _, passive) in REAL.items() if passive])
def test_calcium_k_of_real_passive_galaxies_lies_at_its_vacuum_wavelength(shared_data, name):
    spectrum = read_spectrum(shared_data / "galaxies" / name)
    assert line_centre(spectrum, vacuum(CA_K_AIR)) == pytest.approx(vacuum(CA_K_AIR), abs=1.5)


def test_the_mean_position_of_calcium_k_tells_vacuum_from_air(shared_data):
    passive = [name for name, (_, _, is_passive) in REAL.items() if is_passive]
    centres = [line_centre(read_spectrum(shared_data / "galaxies" / n), vacuum(CA_K_AIR)) for n in passive]
    assert abs(np.mean(centres) - vacuum(CA_K_AIR)) < 0.5
    assert abs(np.mean(centres) - CA_K_AIR) > 0.8


@pytest.mark.parametrize("name", [name for name in REAL if name.endswith("fits")])
def test_flagged_pixels_of_real_sdss_spectra_are_masked(shared_data, name):
    with fits.open(shared_data / "galaxies" / name) as hdus:
        table = hdus[1].data
        bright_sky_or_lost = (table["and_mask"] & (0b1011 << 22 | 1 << 18)) != 0
        no_error, n = table["ivar"] == 0, len(table)
    mask = read_spectrum(shared_data / "galaxies" / name).mask
    assert np.all(mask[bright_sky_or_lost | no_error])
    assert mask.sum() < 0.05 * n


def test_the_real_desi_galaxy_is_joined_and_its_lines_are_at_rest(shared_data):
    spectrum = read_spectrum(shared_data / "galaxies" / "coadd-4-80613-thru20210324.fits")
    assert spectrum.redshift == pytest.approx(0.3687, abs=1e-4)
    assert (spectrum.wavelength[0], spectrum.wavelength[-1]) == pytest.approx((3600, 9824))
    np.testing.assert_allclose(np.diff(spectrum.wavelength), 0.8, rtol=1e-6)
    # Guy et al. 2023: the resolving power rises from about 2000 in the blue to above 5000 in the red
    blue, red = (np.median(spectrum.resolution[abs(spectrum.wavelength - w) < 100]) for w in (3800, 9500))
    assert 1900 < blue < 2800
    assert 4500 < red < 6500
    rest = spectrum.rest_wavelength
    near = abs(rest - vacuum(5006.84)) < 8
    assert rest[near][np.argmax(spectrum.flux[near])] == pytest.approx(vacuum(5006.84), abs=0.7)


def test_the_real_manga_rows_are_read_except_the_blank_one(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectra = {s.name: s for s in read_spectra(shared_data / "galaxies" / "MaNGA_test_spectra.fits.gz")}
    assert set(spectra) == {f"MaNGA_test_spectra_{i}" for i in (0, 1, 2, 3, 4, 6, 7)}
    passive = [spectra[f"MaNGA_test_spectra_{i}"] for i in range(5)]
    assert all(50 < s.snr < 170 for s in passive)
    assert spectra["MaNGA_test_spectra_6"].snr < 3
    assert spectra["MaNGA_test_spectra_7"].snr == pytest.approx(15, rel=0.15)
    for s in passive:
        # the redshift is the galaxy's; a spaxel may move by 300 km/s against it
        assert line_centre(s, vacuum(CA_K_AIR)) == pytest.approx(vacuum(CA_K_AIR), abs=4)
        assert 1500 < np.median(s.resolution) < 2500


def test_the_real_cluster_is_in_the_rest_frame_in_vacuum_with_its_mask_the_right_way_round(shared_data):
    spectrum = read_spectrum(shared_data / "clusters" / "NGC1851_schiavon05_from_ggc1h5.fits")
    assert (spectrum.redshift, spectrum.medium) == (0.0, "vacuum")
    assert spectrum.snr > 200
    # the regions left out in the original are the blue end, the sky line at 5577 A and Na D
    at = {w: bool(spectrum.mask[np.argmin(abs(spectrum.wavelength - w))]) for w in (3500, 4300, 5200, 5572, 5890)}
    assert at == {3500: True, 4300: False, 5200: False, 5572: True, 5890: True}
    # Schiavon et al.'s flux falls in f_nu and is nearly flat in f_lambda from 4500 to 6000 A
    flux = [np.median(spectrum.flux[(abs(spectrum.wavelength - w) < 60) & ~spectrum.mask]) for w in (4500, 6000)]
    assert flux[1] / flux[0] == pytest.approx(1.0, abs=0.25)
    assert line_centre(spectrum, vacuum(4861.33)) == pytest.approx(vacuum(4861.33), abs=1.0)


@pytest.mark.parametrize("sigma", ["100_110", "140_150", "180_190", "200_210", "240_250", "280_320"])
def test_the_real_stacks_need_no_flags_and_are_in_the_rest_frame_in_air(shared_data, sigma):
    spectrum = read_spectrum(shared_data / "stacks" / f"stack_{sigma}.dat")
    assert (spectrum.redshift, spectrum.medium, spectrum.resolution) == (0.0, "air", None)
    assert 250 < spectrum.snr < 900
    assert line_centre(spectrum, np.mean(NA_D_AIR)) == pytest.approx(np.mean(NA_D_AIR), abs=0.7)


# --- files that the ppxf distribution brings ----------------------------------------------------------------


def ppxf_file(name):
    """Find an example of the ppxf distribution, without importing that package."""
    try:
        path = metadata.distribution("ppxf").locate_file(f"ppxf/spectra/{name}")
    except metadata.PackageNotFoundError:
        pytest.skip("ppxf, whose distribution brings the example spectra, is not installed")
    if not path.exists():
        pytest.skip(f"this version of ppxf does not bring {name}")
    return path


def test_the_real_legac_spectrum_is_an_eso_product_in_air():
    spectrum = read_spectrum(ppxf_file("legac_M19_56670_v3.0.fits"), redshift=0.6686)
    assert (spectrum.meta["reader"], spectrum.medium, spectrum.meta["specsys"]) == ("eso", "air", "topocent")
    assert np.all(spectrum.resolution == 2500)
    # the ends are not covered; what is left reaches from [OII] to beyond H beta
    good = spectrum.rest_wavelength[~spectrum.mask]
    assert 3700 < good[0] < 3800
    assert 5100 < good[-1] < 5300
    assert spectrum.snr == pytest.approx(47, abs=3)
    assert line_centre(spectrum, CA_K_AIR) == pytest.approx(CA_K_AIR, abs=1.5)


@pytest.mark.parametrize(
    ("name", "redshift"), [("NGC3522_SDSS_DR18.fits", 0.0041), ("NGC3073_SDSS_DR18.fits", 0.0039)]
)
def test_a_full_sdss_file_is_read_from_its_coadd_and_not_its_exposures(name, redshift):
    spectrum = read_spectrum(ppxf_file(name))
    assert spectrum.redshift == pytest.approx(redshift, abs=3e-4)
    assert 3800 < len(spectrum) < 3900
    assert 1500 < np.median(spectrum.resolution) < 2500


def test_a_bare_spectrum_without_errors_says_what_is_missing():
    with pytest.raises(SpectrumError, match=r"NGC4550_SAURON\.fits: found no error spectrum"):
        read_spectrum(ppxf_file("NGC4550_SAURON.fits"))
