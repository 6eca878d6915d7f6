"""Simulated galaxies as spectra in files, for the benchmarks of speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sfhflow import Model, Spectrum
from sfhflow.config import Config
from sfhflow.grid import C_KMS, FWHM_PER_SIGMA
from sfhflow.train import stream_seed

__all__ = ["mock_spectra"]

REDSHIFT = 0.05
CHUNK = 256
# more than so many are the same galaxies again, with more noise of their own
DISTINCT = 2048


def mock_spectra(model: Model, n: int) -> Iterator[Spectrum]:
    """Galaxies as the model was trained on, with seeds that training never uses."""
    first: list[Spectrum] = []
    for spectrum in _simulated(model, min(n, DISTINCT)):
        first.append(spectrum)
        yield spectrum
    rng = np.random.default_rng(0)
    for row in range(DISTINCT, n):
        spectrum = first[row % DISTINCT]
        # as much noise as there is
        noise = rng.normal(size=len(spectrum)) * np.where(spectrum.mask, 0.0, spectrum.error)
        yield replace(spectrum, flux=spectrum.flux + noise, ivar=spectrum.ivar / 2, name=f"mock_{row}")


def _simulated(model: Model, n: int) -> Iterator[Spectrum]:
    config = Config.model_validate(model.card["config"])
    simulator = config.simulator()
    for start in range(0, n, CHUNK):
        batch = simulator.sample(CHUNK, seed=stream_seed(config.plan.seed, "test", start // CHUNK))
        arrays = (tensor.numpy().astype(float) for tensor in batch.observation[:3])
        for row, (flux, ivar, lsf_kms) in enumerate(zip(*arrays, strict=True), start):
            if row < n:
                yield Spectrum(
                    wavelength=simulator.grid.wavelength * (1 + REDSHIFT),
                    flux=flux,
                    ivar=ivar,
                    redshift=REDSHIFT,
                    resolution=None if np.isnan(lsf_kms[1]) else C_KMS / (FWHM_PER_SIGMA * lsf_kms[1]),
                    medium="air",
                    name=f"mock_{row}",
                )
