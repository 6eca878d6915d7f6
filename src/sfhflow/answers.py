"""The answers for a batch of galaxies in common arrays, so that summaries need no loop over galaxies.

Samples lie in memory with the samples of one quantity side by side, which is what sorting and the formulae of
`sfhflow.derived` run through; the axes are those of `Posterior` behind one of galaxies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sfhflow.information import PriorQuantiles
from sfhflow.light import Light
from sfhflow.posterior import Posterior, inferred_columns
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import Verdict

__all__ = ["PosteriorBatch"]


@dataclass(frozen=True)
class PosteriorBatch:
    """Posterior samples of N galaxies.

    Attributes
    ----------
    times : array of shape (N, n, 13)
        Cosmic times (Gyr) at which the mass fractions `sfhflow.parameters.FRACTIONS` had formed.
    metallicity, a_v, sigma_kms : arrays of shape (N, n)
        [M/H] in dex, attenuation in mag, velocity dispersion in km/s.
    age_of_universe : array of shape (N,)
        Gyr, at the galaxies' redshifts.
    spectra : sequence of Spectrum
        What was fitted.
    verdicts : sequence of Verdict
        Whether the answers can be trusted.
    seed, model, lines_masked, light, prior_quantiles
        As for `Posterior`.
    """

    times: NDArray[np.float64]
    metallicity: NDArray[np.float64]
    a_v: NDArray[np.float64]
    sigma_kms: NDArray[np.float64]
    age_of_universe: NDArray[np.float64]
    spectra: Sequence[Spectrum]
    verdicts: Sequence[Verdict]
    seed: int
    model: str
    lines_masked: bool = True
    light: Light | None = None
    prior_quantiles: PriorQuantiles = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.spectra)

    def __iter__(self) -> Iterator[Posterior]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Posterior:
        """The answer for one galaxy; its arrays are views."""
        return Posterior(
            self.times[row],
            self.metallicity[row],
            self.a_v[row],
            self.sigma_kms[row],
            float(self.age_of_universe[row]),
            self.spectra[row],
            self.verdicts[row],
            self.seed,
            self.model,
            self.lines_masked,
            self.light,
            self.prior_quantiles,
        )

    def columns(self) -> dict[str, tuple[NDArray[np.float64], str]]:
        """Samples (N, n) and unit of every inferred quantity, by name, as `Posterior.columns`."""
        return inferred_columns(self.times, self.metallicity, self.a_v, self.sigma_kms)
