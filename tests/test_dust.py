"""Attenuation curves against published values."""

import numpy as np
import pytest
import torch

from sfhflow.dust import calzetti, calzetti_k, power_law, two_component

V_BAND = torch.tensor([5500.0], dtype=torch.float64)
WAVELENGTH = torch.linspace(1500, 9500, 50, dtype=torch.float64)


def attenuation(transmission):
    return -2.5 * transmission.log10()


def test_calzetti_k_matches_the_published_curve():
    # k(lambda) of Calzetti et al. (2000): eq. 4 worked by hand at 1500, 4400, 5500 and 8000 Angstrom; it is
    # R_V = 4.05 in V and, by definition of the colour excess, one more in B
    wavelength = torch.tensor([1500.0, 4400.0, 5500.0, 8000.0], dtype=torch.float64)
    assert calzetti_k(wavelength).numpy() == pytest.approx([10.33, 5.08, 4.05, 2.57], abs=0.03)


def test_the_two_branches_of_calzetti_meet_as_closely_as_published():
    below, above = calzetti_k(torch.tensor([6299.99, 6300.01], dtype=torch.float64))
    assert below.item() == pytest.approx(above.item(), abs=0.03)


@pytest.mark.parametrize("curve", [calzetti, power_law])
@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.3])
def test_a_v_is_the_attenuation_at_5500_angstrom_for_any_slope(curve, slope):
    a_v = torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    np.testing.assert_allclose(attenuation(curve(V_BAND, a_v, slope=slope))[:, 0], a_v, atol=1e-12)


def test_the_slope_tilts_the_curve_as_a_power_of_wavelength():
    a_v, slope = torch.ones(2, dtype=torch.float64), torch.tensor([-0.4, 0.2], dtype=torch.float64)
    tilted, plain = (attenuation(calzetti(WAVELENGTH, a_v, slope=s)) for s in (slope, 0.0))
    expected = (WAVELENGTH / 5500) ** slope[:, None]
    np.testing.assert_allclose(tilted / plain, expected, rtol=1e-10)


def test_a_power_law_of_minus_one_halves_the_attenuation_at_twice_the_wavelength():
    transmission = power_law(torch.tensor([5500.0, 11_000.0]), torch.tensor([1.0]), slope=-1.0)
    assert attenuation(transmission)[0].tolist() == pytest.approx([1.0, 0.5], rel=1e-5)


def test_layers_of_dust_multiply():
    one, two = (torch.tensor([a], dtype=torch.float64) for a in (0.4, 0.7))
    both = calzetti(WAVELENGTH, one) * calzetti(WAVELENGTH, two)
    np.testing.assert_allclose(both, calzetti(WAVELENGTH, one + two), rtol=1e-12)


def test_young_stars_see_the_birth_cloud_on_top_of_the_diffuse_medium():
    diffuse, cloud = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
    old, young = two_component(WAVELENGTH.float(), diffuse, cloud, birth_cloud_slope=-1.3)
    assert torch.equal(old, calzetti(WAVELENGTH.float(), diffuse))
    assert torch.equal(young[0], old[0])
    extra = attenuation(young[1]) - attenuation(old[1])
    np.testing.assert_allclose(extra, (WAVELENGTH / 5500) ** -1.3, rtol=1e-3)


def test_the_type_of_the_input_is_kept():
    assert calzetti(WAVELENGTH.float(), torch.zeros(2)).dtype == torch.float32
    assert calzetti(WAVELENGTH, torch.zeros(2, dtype=torch.float64)).dtype == torch.float64
