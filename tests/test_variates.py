"""The random numbers of a galaxy: its own, reproducible, and independent of the batch and of the unit."""

import numpy as np
import torch

import toy
from sfhflow.variates import galaxy_keys, normal_variates


def test_a_galaxy_has_the_same_numbers_alone_and_in_any_batch():
    flux = toy.observations(12).flux
    together = normal_variates(galaxy_keys(flux, 3), 50, 16)
    order = torch.tensor([7, 0, 11])
    assert torch.equal(normal_variates(galaxy_keys(flux[order], 3), 50, 16), together[order])
    assert torch.equal(normal_variates(galaxy_keys(flux[4:5], 3), 50, 16), together[4:5])


def test_galaxies_and_seeds_have_independent_normal_numbers():
    flux = toy.observations(40).flux
    numbers = normal_variates(galaxy_keys(flux, 0), 500, 16)
    other = normal_variates(galaxy_keys(flux, -1), 500, 16)
    # 320,000 numbers: standard errors of the mean 0.0018, of the variance 0.0025
    assert abs(float(numbers.mean())) < 0.008
    assert abs(float(numbers.var()) - 1) < 0.01
    rows = torch.cat([numbers, other]).flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    # 3160 pairs with a standard error of 1 / sqrt(8000) = 0.011
    assert float(correlation.abs().max()) < 0.06
    columns = torch.corrcoef(numbers.flatten(0, 1).T) - torch.eye(16)
    assert float(columns.abs().max()) < 0.04


def test_neither_the_unit_nor_the_last_digit_of_the_flux_changes_the_numbers():
    flux = toy.observations(20).flux
    keys = galaxy_keys(flux, 0)
    assert len(set(keys.tolist())) == 20
    for factor in (1e-17, 0.3, 1e8):
        np.testing.assert_array_equal(galaxy_keys((flux.double() * factor).float(), 0), keys)
    wobbled = flux.double() * (1 + 1e-12 * torch.randn(flux.shape, dtype=torch.float64))
    np.testing.assert_array_equal(galaxy_keys(wobbled, 0), keys)
