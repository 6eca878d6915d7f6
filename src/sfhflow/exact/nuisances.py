r"""Covariance of an observed spectrum about its noiseless template, for given amplitudes of the nuisances.

Everything that the simulator draws at random and that is not a parameter is linearised about a reference
spectrum *r*, so that :math:`d \sim N(A\,m(u), K)` with

.. math::
    K = e^2\,E\,T_f\,E + a_m^2\, r r^T \circ M + U U^T .

* *E* are the stated errors, *e* the factor by which they are wrong, and :math:`T_f` is tridiagonal: noise that
  was shifted by a fraction *f* of a pixel (`sfhflow.noise.shifted_noise`), with 1 - 2c on the diagonal and
  c = f (1 - f) beside it.
* *M* is the correlated part of the template mismatch, which is banded.
* The columns of *U* are few: *r* times Legendre polynomials (flux calibration, rms :math:`a_c`), *r* times the
  structured components of the mismatch, those of the differences between libraries, the step between arms, the
  emission in the weak lines (for an equivalent width *W* of H beta), and the derivatives of *r* with redshift and
  resolution.

A step of rms *s* at an edge that is uniform over the *P* pixels has the covariance :math:`(s^2/4)(1 - 2|i-j|/P)`,
a triangle wave of period 2 *P*, whose Fourier series is
:math:`(2 s^2/\pi^2) \sum_{k\,odd} \cos(\pi k (i-j)/P)/k^2`: one cosine and one sine for each odd *k*.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfhflow.exact.hyper import Axis, Node, log_uniform, normal, uniform
from sfhflow.exact.stars import DustyStars
from sfhflow.instrument import calibration_loadings
from sfhflow.lines import WEAK_LINES, EmissionModel, emission_line_mask, line_profiles
from sfhflow.simulator import Simulator

__all__ = ["Amplitudes", "Nuisances"]

_STEP_WAVES = np.arange(1, 32, 2)


class Amplitudes(NamedTuple):
    """Amplitudes of one node: what `Nuisances.axes` are axes of.

    Attributes
    ----------
    log_error : float
        Natural logarithm of true over stated errors.
    fraction : float
        Shift of the noise in pixels.
    mismatch, calibration : float
        Rms of the logarithm of the flux.
    emission : float
        Equivalent width of H beta in Angstrom.
    """

    log_error: float
    fraction: float
    mismatch: float
    calibration: float
    emission: float


class Nuisances:
    """Shapes and prior amplitudes of everything in a simulator that is not a parameter.

    Parameters
    ----------
    simulator : Simulator
        Whose random effects.

    Attributes
    ----------
    calibration, structured, library, step, emission : arrays of shape (., P)
        Loadings, to be multiplied by the reference (but for the emission) and their amplitude, if they have one.
    mismatch : array of shape (P, P)
        Covariance *M* of the correlated part of the mismatch, of unit amplitude.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        n_pixels, instrument = simulator.grid.n_pixels, simulator.instrument
        self.calibration = calibration_loadings(instrument.calibration_orders, n_pixels).double().numpy()
        structured, nodes = (part.double().numpy() for part in simulator.mismatch.loadings(simulator.grid))
        self.structured = structured
        self.mismatch = nodes.T @ nodes
        self.library = simulator.mismatch.library_on_grid(simulator.grid).double().numpy()
        phase = np.pi * _STEP_WAVES[:, None] * np.arange(n_pixels) / n_pixels
        size = np.sqrt(2) / np.pi * instrument.arm_step / _STEP_WAVES[:, None]
        self.step = np.concatenate([size * np.cos(phase), size * np.sin(phase)])
        profiles = line_profiles(simulator.grid).double().numpy()
        self.emission = _emission_root(simulator.emission).T @ profiles

    @cached_property
    def stars(self) -> DustyStars:
        """What is not a nuisance: the stars and the dust of the simulator, in low-rank form."""
        return DustyStars(self.simulator)

    @cached_property
    def bandwidth(self) -> int:
        """Number of diagonals on either side of the main one in the banded part of K."""
        rows, columns = np.nonzero(self.mismatch)
        return max(1, int(np.abs(rows - columns).max()))

    def axes(self, *, lines_masked: bool) -> tuple[Axis, ...]:
        """Grid of the amplitudes, in the order of `Amplitudes`."""
        simulator = self.simulator
        return (
            normal(simulator.noise.error_scatter, 13),
            uniform(0.0, 0.5, 5),
            log_uniform(*simulator.mismatch.amplitude_range, 7),
            log_uniform(*simulator.instrument.calibration_range, 5),
            _emission_axis(simulator.emission, lines_masked=lines_masked),
        )

    def amplitudes(self, node: Node, axes: tuple[Axis, ...]) -> Amplitudes:
        """Values of a node."""
        return Amplitudes(*(float(axis.values[i]) for axis, i in zip(axes, node, strict=True)))

    def lines_masked(self, ivar: NDArray[np.float64]) -> bool:
        """Whether the windows of the strong lines were left out of a spectrum with inverse variances (P,)."""
        windows = emission_line_mask(self.simulator.grid.wavelength)
        return not np.any(ivar[windows] > 0)


def _emission_axis(model: EmissionModel, *, lines_masked: bool) -> Axis:
    """No emission, or equivalent widths; spectra whose strong lines are kept have none."""
    if not lines_masked or model.probability == 0:
        return Axis(np.zeros(1), np.zeros(1))
    some = log_uniform(*model.width_range, 5)
    probability = np.append(1 - model.probability, model.probability * np.exp(some.log_weights))
    with np.errstate(divide="ignore"):
        return Axis(np.append(0.0, some.values), np.log(probability))


def _emission_root(model: EmissionModel) -> NDArray[np.float64]:
    """Root of the second moments of the strengths of all profiles for H beta of unit equivalent width.

    A strength is b_w x ratio_l x exp(s n_l): shares b of three widths (normalised uniform numbers), and ratios
    that scatter by s, of which the mean square is exp(2 s^2) and the product of two has the mean exp(s^2).
    """
    ratios = np.array([ratio for _, ratio in WEAK_LINES.values()])
    lines = np.exp(model.scatter**2 * (1 + np.eye(len(ratios)))) * np.outer(ratios, ratios)
    cells = (np.arange(24) + 0.5) / 24
    shares = np.stack(np.meshgrid(cells, cells, cells, indexing="ij"), axis=-1).reshape(-1, 3)
    shares = shares / shares.sum(-1, keepdims=True)
    return np.linalg.cholesky(np.kron(shares.T @ shares / len(shares), lines))
