"""The coordinates that the benchmark of them compares are the same galaxies in other words."""

import pytest
import torch
from benchmarks.coordinates import COORDINATES, Galaxies, markdown, measure, train

import toy
from sfhflow.flow import FLOWS


def galaxies(n):
    generator = torch.Generator().manual_seed(0)
    u = 0.7 * torch.randn(n, 16, generator=generator)
    context = u[:, :4] + 0.3 * torch.randn(n, 4, generator=generator)
    return Galaxies(context, u, torch.full((n,), 50.0))


@pytest.mark.parametrize("name", COORDINATES)
def test_galaxies_survive_the_change_of_coordinates_and_volumes_change_as_stated(name):
    coordinates, u = COORDINATES[name], galaxies(50).u.double()
    torch.testing.assert_close(coordinates.back(coordinates.there(u)), u, rtol=1e-6, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(coordinates.there, u[0])
    assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(coordinates.log_volume, abs=1e-9)


def test_a_flow_trained_in_other_coordinates_is_measured_in_the_same_ones():
    found = {}
    for name, coordinates in COORDINATES.items():
        flow = FLOWS["coupling"](16, 4, components=2, transforms=2, hidden=(16,), bins=4)
        data = galaxies(6000)
        train(flow, data.context[:5000], coordinates.there(data.u[:5000]), 150)
        found[name] = measure(toy.model(), flow, Galaxies(*(part[5000:] for part in data)), coordinates)
    # truth: 12 coordinates of scale 0.7 and 4 known through contexts; both come near, so they speak of one density
    scale = torch.tensor(12 * [0.7] + 4 * [(0.7**-2 + 0.3**-2) ** -0.5])
    best = -float(torch.log(scale).sum()) - 8 * (1 + float(torch.log(torch.tensor(2 * torch.pi))))
    for result in found.values():
        assert best - 1.5 < result["log_prob"] < best + 0.3
        assert 0.5 < result["S/N 30 to 100"]["t50"] < 0.85
    assert "| isometric |" in markdown({"coordinates": found, "steps": 150, "trained_on": 5000})
