"""`Spectrum`: valid by construction, and nothing masked ever reaches a result."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfhflow.errors import InputError, SpectrumError
from sfhflow.spectrum import Spectrum

WAVELENGTH = np.linspace(4000.0, 5000.0, 50)


def make(**changes):
    fields = {"wavelength": WAVELENGTH, "flux": np.full(50, 2.0), "ivar": np.full(50, 25.0), "redshift": 0.1}
    return Spectrum(**(fields | changes))


def with_pixel(value, *, array=None, pixel=3):
    array = np.full(50, 2.0) if array is None else array.copy()
    array[pixel] = value
    return array


def test_the_signal_to_noise_ratio_is_flux_over_error():
    spectrum = make()
    np.testing.assert_allclose(spectrum.error, 0.2)
    assert spectrum.snr == pytest.approx(10.0)


def test_rest_wavelengths_are_divided_by_one_plus_redshift():
    np.testing.assert_allclose(make(redshift=0.25).rest_wavelength, WAVELENGTH / 1.25)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["flux", "ivar"])
def test_pixels_that_are_not_finite_are_masked_and_zeroed(field, bad):
    spectrum = make(**{field: with_pixel(bad)})
    assert np.flatnonzero(spectrum.mask).tolist() == [3]
    assert (spectrum.flux[3], spectrum.ivar[3], spectrum.error[3]) == (0.0, 0.0, np.inf)


@given(
    flux=hnp.arrays(float, 50, elements=st.floats(allow_nan=True, allow_infinity=True)),
    ivar=hnp.arrays(float, 50, elements=st.floats(0, 1e30, allow_nan=False) | st.just(np.nan)),
    mask=hnp.arrays(bool, 50),
)
def test_a_spectrum_that_exists_holds_only_finite_numbers_and_a_usable_pixel(flux, ivar, mask):
    usable = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & ~mask
    try:
        spectrum = make(flux=flux, ivar=ivar, mask=mask)
    except SpectrumError:
        assert not usable.any()
        return
    np.testing.assert_array_equal(spectrum.mask, ~usable)
    np.testing.assert_array_equal(spectrum.flux, np.where(usable, flux, 0))
    np.testing.assert_array_equal(spectrum.ivar, np.where(usable, ivar, 0))


def test_masked_values_do_not_change_anything():
    mask = np.arange(50) < 10
    one = make(mask=mask)
    other = make(mask=mask, flux=np.where(mask, 1e9, 2.0), ivar=np.where(mask, 1e-9, 25.0))
    np.testing.assert_array_equal(one.flux, other.flux)
    np.testing.assert_array_equal(one.ivar, other.ivar)
    assert one.snr == other.snr


def test_masks_add_up():
    spectrum = make(mask=np.arange(50) < 10).with_mask(np.arange(50) >= 40)
    assert np.flatnonzero(~spectrum.mask).tolist() == list(range(10, 40))


def test_a_scalar_resolution_holds_for_all_pixels_and_gaps_are_filled_from_the_neighbours():
    np.testing.assert_array_equal(make(resolution=2000).resolution, np.full(50, 2000.0))
    rising = np.linspace(1500.0, 2000.0, 50)
    holed = make(resolution=np.where(np.arange(50) == 7, -1.0, rising)).resolution
    np.testing.assert_allclose(holed, rising)


def test_the_record_is_frozen_and_keeps_its_own_copy_of_the_data():
    flux = np.full(50, 2.0)
    spectrum = make(flux=flux)
    flux[:] = 7
    assert spectrum.flux[0] == 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        spectrum.redshift = 0.2


def test_big_endian_single_precision_as_in_fits_is_accepted():
    spectrum = make(flux=np.full(50, 2.0, dtype=">f4"), redshift=np.float32(0.1))
    assert spectrum.flux.dtype == np.float64
    assert spectrum.flux.dtype.isnative
    assert type(spectrum.redshift) is float


REFUSED = {
    "two-dimensional": ({"wavelength": np.ones((2, 5))}, "select one spectrum"),
    "one pixel": ({"wavelength": [5000.0], "flux": [1.0], "ivar": [1.0]}, "select one spectrum"),
    "flux of another length": ({"flux": np.ones(49)}, "one value per pixel"),
    "ivar of another length": ({"ivar": np.ones(49)}, "one value per pixel"),
    "mask of another length": ({"mask": np.zeros(49, bool)}, "one value per pixel"),
    "flux of words": ({"flux": ["a"] * 50}, "convert it"),
    "wavelengths in nm": ({"wavelength": WAVELENGTH / 10}, "convert nm"),
    "wavelengths in micron": ({"wavelength": WAVELENGTH / 1e4}, "micron"),
    "log wavelengths": ({"wavelength": np.log10(WAVELENGTH)}, "log10"),
    "falling wavelengths": ({"wavelength": WAVELENGTH[::-1]}, "sort"),
    "repeated wavelengths": ({"wavelength": with_pixel(WAVELENGTH[4], array=WAVELENGTH)}, "sort"),
    "undefined wavelength": ({"wavelength": with_pixel(np.nan, array=WAVELENGTH)}, "remove"),
    "negative ivar": ({"ivar": with_pixel(-1.0)}, "zero inverse variance"),
    "no flux": ({"flux": np.full(50, np.nan)}, "check the file"),
    "no information": ({"ivar": np.zeros(50)}, "check the mask"),
    "all masked": ({"mask": np.ones(50, bool)}, "check the mask"),
    "undefined redshift": ({"redshift": np.nan}, "--redshift"),
    "redshift in words": ({"redshift": "0.1"}, "--redshift"),
    "true as redshift": ({"redshift": True}, "--redshift"),
    "no redshift": ({"redshift": None}, "--redshift"),
    "missing-value redshift": ({"redshift": -9999.0}, "--redshift"),
    "unknown medium": ({"medium": "water"}, "--medium"),
    "no resolution": ({"resolution": np.zeros(50)}, "leave it out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_spectrum_is_refused_with_its_name_and_a_cure(case):
    changes, cure = REFUSED[case]
    with pytest.raises(InputError) as caught:
        make(name="NGC1", **changes)
    assert str(caught.value).startswith("NGC1: ")
    assert cure in str(caught.value)
    assert "\n" not in str(caught.value)
