"""A small world in which everything runs in seconds: an analytic SSP library, a coarse grid, a tiny network.

Spectra of the library are a power law that reddens with age and three absorption lines, one that weakens with
age (like the Balmer lines), one that deepens with age and one that deepens with [M/H].
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sfhflow.galaxy import light_of
from sfhflow.grid import LogGrid
from sfhflow.light import Light
from sfhflow.lines import EmissionModel
from sfhflow.mismatch import TemplateMismatch
from sfhflow.model import Model
from sfhflow.network import Architecture, Network
from sfhflow.noise import NoiseModel
from sfhflow.observation import Observation
from sfhflow.parameters import ParameterMap
from sfhflow.prior import Prior
from sfhflow.projection import principal_components
from sfhflow.sfh import QuantileSFH
from sfhflow.simulator import InstrumentModel, Simulator
from sfhflow.spectrum import Spectrum
from sfhflow.ssp import SSPLibrary, save
from sfhflow.train import TrainingPlan
from sfhflow.verdict.standards import set_standards

GRID = LogGrid(3900.0, 6600.0, 1.6e-3)
ARCHITECTURE = Architecture(
    n_components=8, width=32, depth=1, n_context=16, transforms=3, hidden=(32,), bins=4, error_floor=0.002
)
PLAN = TrainingPlan(
    steps=12,
    batch_size=64,
    warmup=4,
    average=0.9,
    n_components_sample=1024,
    n_scaling=1024,
    n_validation=256,
    n_thresholds=1024,
    validate_every=4,
)


def library(*, high: float = 6750.0) -> SSPLibrary:
    """SSPs of 12 ages and 4 metallicities, from 3800 Angstrom on."""
    ages, metallicities = np.geomspace(0.03, 14.0, 12), np.array([-2.3, -1.2, -0.4, 0.4])
    wavelength = np.arange(3800.0, high, 4.0)
    old = (np.log10(ages)[:, None, None] + 1.5) / 2.7
    rich = (metallicities[:, None] + 2.3) / 2.7
    slope = -2.5 + 2.0 * old + 0.6 * rich
    flux = 0.05 * ages[:, None, None] ** -0.8 * (wavelength / 5200.0) ** slope
    for centre, depth in ((4180.0, 0.4 * (1 - old)), (4500.0, 0.3 * old**2), (5300.0, 0.4 * rich * (0.4 + old))):
        flux = flux * (1 - depth * np.exp(-0.5 * ((wavelength - centre) / 25.0) ** 2))
    return SSPLibrary("toy", ages, metallicities, wavelength, flux, 4.0, "air", {"imf": "none"})


def light() -> Light:
    """Light of the library continued to where the bands end."""
    found = light_of(library(high=7100.0))
    assert found is not None
    return found


def simulator(**changes) -> Simulator:
    """Bright galaxies with most of their spectrum, on the coarse grid."""
    parts = {
        "library": library(),
        "prior": Prior(QuantileSFH(), max_redshift=0.1),
        "noise": NoiseModel(snr_range=(20.0, 200.0), max_gap_pixels=20, min_window=0.5, sparse_probability=0.0),
        "instrument": InstrumentModel(sigma_range_kms=(150.0, 300.0), calibration_range=(0.002, 0.01)),
        "mismatch": TemplateMismatch(amplitude_range=(0.001, 0.003), library_amplitude=0.0),
        "emission": EmissionModel(),
        "grid": GRID,
    }
    return Simulator(**{**parts, **changes})


def observations(n: int = 6, *, seed: int = 3) -> Observation:
    """Simulated observations."""
    return simulator().sample(n, seed=seed).observation


def spectra(n: int = 3, *, seed: int = 5) -> list[Spectrum]:
    """Simulated galaxies as an observer would file them: redshifted, in vacuum, in another unit."""
    sample = simulator(emission=EmissionModel(mask_probability=0.0)).sample(n, seed=seed).observation
    return [
        Spectrum(
            wavelength=GRID.wavelength * 1.05,
            flux=flux.numpy() * 3e-17,
            ivar=ivar.numpy().astype(float) / 9e-34,
            redshift=0.05,
            resolution=500.0,
            medium="air",
            name=f"toy_{row}",
        )
        for row, (flux, ivar) in enumerate(zip(sample.flux, sample.ivar, strict=True))
    ]


def model(*, seed: int = 0) -> Model:
    """An untrained model with random weights on the toy's principal components."""
    torch.manual_seed(seed)
    parameters = ParameterMap()
    network = Network(ARCHITECTURE, GRID.n_pixels, parameters.n_features)
    sample = simulator().sample(1024, seed=9)
    encoder = network.encoder
    encoder.set_components(*principal_components(sample.noiseless, ARCHITECTURE.n_components))
    encoder.standardise(encoder.features(sample.observation))
    standards = set_standards(encoder, simulator(), n=1024, seed=10)
    network.flow.standardise(sample.u)
    # a new flow hardly looks at the spectrum
    torch.nn.init.normal_(network.flow.whitening.network.weight, std=0.1)
    return Model(
        network,
        architecture=ARCHITECTURE,
        grid=GRID,
        library_fwhm=4.0,
        parameters=parameters,
        thresholds=standards.limits,
        card={"name": "toy"},
        light=light(),
        critic=standards.critic,
        prior_quantiles=standards.prior,
    )


def plan(**changes) -> TrainingPlan:
    """The toy's training plan with changes."""
    return replace(PLAN, **changes)


def write_config(folder: Path, *, name: str = "toy", steps: int = 8) -> Path:
    """Write the toy library and a configuration file that makes the toy's simulator; return its path."""
    path = folder / f"{name}-library.safetensors"
    save(library(), path)
    config = folder / f"{name}.toml"
    config.write_text(CONFIG.format(name=name, library=path.as_posix(), steps=steps))
    return config


CONFIG = """\
name = "{name}"
library = "{library}"

[prior]
sfh = "quantile"
max_redshift = 0.1

[noise]
snr_range = [20.0, 200.0]
max_gap_pixels = 20
sparse_probability = 0.0
min_window = 0.5

[instrument]
sigma_range_kms = [150.0, 300.0]
calibration_range = [0.002, 0.01]

[mismatch]
amplitude_range = [0.001, 0.003]
library_amplitude = 0.0

[grid]
low = 3900.0
high = 6600.0
step = 1.6e-3

[architecture]
n_components = 8
width = 32
depth = 1
n_context = 16
error_floor = 0.002
transforms = 3
hidden = [32]
bins = 4

[plan]
steps = {steps}
batch_size = 64
warmup = 4
average = 0.9
n_components_sample = 1024
n_scaling = 1024
n_validation = 256
n_thresholds = 1024
validate_every = 4
"""
