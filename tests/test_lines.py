"""Emission lines: windows at the right wavelengths, areas of profiles, equivalent widths."""

import numpy as np
import pytest
import torch

from sfhflow.grid import C_KMS, LogGrid, vacuum_to_air
from sfhflow.lines import EMISSION_LINES, WEAK_LINES, EmissionModel, emission_line_mask, line_profiles

GRID = LogGrid()


@pytest.fixture(scope="module")
def profiles():
    return line_profiles(GRID)


@pytest.mark.parametrize(
    ("name", "vacuum"),
    [  # vacuum wavelengths of NIST as listed by SDSS
        ("[OII]3726", 3727.09),
        ("[OII]3729", 3729.88),
        ("Hbeta", 4862.68),
        ("[OIII]5007", 5008.24),
        ("NaD2", 5891.58),
        ("Halpha", 6564.61),
        ("[NII]6583", 6585.27),
        ("[SII]6731", 6732.67),
    ],
)
def test_wavelengths_are_those_of_air(name, vacuum):
    assert EMISSION_LINES[name] == pytest.approx(float(vacuum_to_air(np.array(vacuum))), abs=0.03)


def test_weak_hydrogen_lines_are_at_their_balmer_wavelengths():
    rydberg = 1.0967758e-3  # per Angstrom, hydrogen
    for name, level in {"H11": 11, "H10": 10, "H9": 9, "H8": 8, "Hepsilon": 7}.items():
        vacuum = 1 / (rydberg * (1 / 4 - 1 / level**2))
        assert WEAK_LINES[name][0] == pytest.approx(float(vacuum_to_air(np.array(vacuum))), abs=0.1)
    # case B: each line of the series is weaker than the one before it
    ratios = [WEAK_LINES[name][1] for name in ("Hepsilon", "H8", "H9", "H10", "H11")]
    assert ratios == sorted(ratios, reverse=True)


def test_the_mask_covers_what_lies_within_its_half_width_and_nothing_else():
    mask = emission_line_mask(GRID.wavelength)
    for i in range(0, GRID.n_pixels, 3):
        nearest = min(abs(np.log(GRID.wavelength[i] / line)) for line in EMISSION_LINES.values())
        assert mask[i] == (C_KMS * nearest < 500.0)
    assert emission_line_mask(
        np.array([4861.32 * np.exp(499 / C_KMS), 4861.32 * np.exp(501 / C_KMS)])
    ).tolist() == [
        True,
        False,
    ]


def test_the_stellar_features_that_matter_most_are_kept():
    ca_k, ca_h, g_band, mg_b, fe_5270, h8 = 3933.66, 3968.47, 4304.0, 5175.0, 5270.0, 3889.05
    assert not emission_line_mask(np.array([ca_k, ca_h, g_band, mg_b, fe_5270, h8])).any()
    assert emission_line_mask(GRID.wavelength).mean() < 0.12


def test_profiles_have_unit_area_and_the_right_centre(profiles):
    centres = torch.tensor([centre for centre, _ in WEAK_LINES.values()]).repeat(3)
    width = torch.tensor(np.gradient(GRID.wavelength), dtype=torch.float32)
    area = (profiles * width).sum(-1)
    torch.testing.assert_close(area, torch.ones_like(area), rtol=0, atol=2e-3)
    wavelength = torch.tensor(GRID.wavelength, dtype=torch.float32)
    torch.testing.assert_close((profiles * width * wavelength).sum(-1) / area, centres, rtol=0, atol=0.1)


def test_emission_has_the_equivalent_widths_asked_for(profiles):
    model = EmissionModel(mask_probability=1.0, probability=1.0, width_range=(5.0, 5.0), scatter=0.0)
    emission, masked = model.sample(20, profiles, torch.Generator().manual_seed(0))
    width = torch.tensor(np.gradient(GRID.wavelength), dtype=torch.float32)
    # on a continuum of one, the area is the equivalent width; H10 and [ArIII] stand alone
    for name in ("H10", "[ArIII]7136", "HeI6678"):
        centre, ratio = WEAK_LINES[name]
        near = torch.tensor(np.abs(GRID.wavelength / centre - 1) < 1200 / C_KMS)
        area = (emission * width)[:, near].sum(-1)
        torch.testing.assert_close(area, torch.full((20,), 5.0 * ratio), rtol=5e-3, atol=1e-3)
    assert masked.all()


def test_equivalent_widths_are_log_uniform(profiles):
    model = EmissionModel(mask_probability=1.0, probability=1.0, scatter=0.0)
    emission, _ = model.sample(4000, profiles, torch.Generator().manual_seed(1))
    width = torch.tensor(np.gradient(GRID.wavelength), dtype=torch.float32)
    equivalent = (emission * width).sum(-1) / sum(ratio for _, ratio in WEAK_LINES.values())
    assert float(equivalent.min()) == pytest.approx(0.05, rel=0.05)
    assert float(equivalent.max()) == pytest.approx(20.0, rel=0.05)
    assert float(equivalent.median()) == pytest.approx(1.0, rel=0.15)


def test_spectra_whose_lines_are_not_masked_have_no_emission(profiles):
    emission, masked = EmissionModel().sample(4000, profiles, torch.Generator().manual_seed(2))
    shines = emission.abs().sum(-1) > 0
    assert masked.shape == (4000, 1)
    assert not shines[~masked[:, 0]].any()
    assert float(masked.float().mean()) == pytest.approx(0.85, abs=0.02)
    assert float(shines[masked[:, 0]].float().mean()) == pytest.approx(0.6, abs=0.03)
    assert torch.all(emission >= 0)
