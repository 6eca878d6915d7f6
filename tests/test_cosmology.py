"""Age and distance against astropy's Planck 2018 cosmology."""

import numpy as np
import pytest
import torch
from astropy.cosmology import Planck18

from sfhflow.cosmology import age_of_universe, luminosity_distance, redshift_at_age
from sfhflow.errors import InputError

REDSHIFTS = np.array([-0.005, 0.0, 0.001, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0])


def test_age_agrees_with_astropy():
    np.testing.assert_allclose(age_of_universe(REDSHIFTS), Planck18.age(REDSHIFTS).value, rtol=1e-5)


def test_luminosity_distance_agrees_with_astropy():
    positive = REDSHIFTS[2:]
    expected = Planck18.luminosity_distance(positive).value
    np.testing.assert_allclose(luminosity_distance(positive), expected, rtol=1e-5)
    assert luminosity_distance(0.0) == 0.0


def test_redshift_at_age_inverts_age_of_universe():
    back = redshift_at_age(age_of_universe(REDSHIFTS))
    np.testing.assert_allclose(1 + back, 1 + REDSHIFTS, rtol=1e-5)


@pytest.mark.parametrize("function", [age_of_universe, luminosity_distance, redshift_at_age])
def test_the_result_has_the_kind_and_shape_of_the_argument(function):
    assert isinstance(function(0.5), float)
    assert function(np.full((2, 3), 0.5)).shape == (2, 3)
    tensor = function(torch.full((2, 3), 0.5, dtype=torch.float32))
    assert tensor.shape == (2, 3)
    assert tensor.dtype == torch.float32
    assert tensor[0, 0].item() == pytest.approx(function(0.5), rel=1e-6)


def test_impossible_values_are_refused_with_a_reason():
    with pytest.raises(InputError, match="above -1"):
        age_of_universe(-1.5)
    with pytest.raises(InputError, match="above -1"):
        luminosity_distance(np.array([0.1, np.nan]))
    with pytest.raises(InputError, match="Gyr between"):
        redshift_at_age(30.0)
