"""The extinction curve of the Milky Way is that of the dust_extinction package."""

import numpy as np
import pytest
from astropy import units as u

from sfhflow.readers.galactic import milky_way_extinction

averages = pytest.importorskip(
    "dust_extinction.parameter_averages", reason="dust_extinction, which is compared with, is not installed"
)


def test_the_curve_of_fitzpatrick_1999_is_the_same_from_the_ultraviolet_to_the_infrared():
    wavelength = np.geomspace(1010.0, 33000.0, 500)
    theirs = averages.F99(Rv=3.1)(wavelength * u.AA)
    np.testing.assert_allclose(milky_way_extinction(wavelength) / 3.1, theirs, rtol=2e-3, atol=2e-4)


def test_another_curve_of_the_same_galaxy_differs_by_less_than_a_tenth_in_the_optical():
    wavelength = np.linspace(3300.0, 9500.0, 200)
    theirs = averages.O94(Rv=3.1)(wavelength * u.AA)
    np.testing.assert_allclose(milky_way_extinction(wavelength) / 3.1, theirs, rtol=0.1)
