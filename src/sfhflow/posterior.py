"""The trained model and its answers: spectrum in, posterior samples out.

p(parameters | spectrum) = encoder (spectrum -> context) + flow (context -> density of unbounded coordinates)
+ parameter map (unbounded coordinates -> formation times, [M/H], dust, dispersion).  A model is a folder of
`weights.safetensors` and `card.json`; it needs neither the SSP library nor the simulator that made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfhflow.encoder import ProjectionEncoder
from sfhflow.errors import InputError, ModelError
from sfhflow.flow import ConditionalFlow
from sfhflow.grid import LogGrid
from sfhflow.notebook import summary_html
from sfhflow.observation import Observation, observe
from sfhflow.parameters import FRACTIONS, Bounded, GalaxyParameters, ParameterMap
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import Thresholds, Verdict, judge, scores

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["Architecture", "Model", "Posterior", "load_model", "shipped_models"]

CARD_FORMAT = 2
_FILES = ("card.json", "weights.safetensors")
# Galaxies sampled at once: bounds the memory whatever the size of the batch.
_SAMPLES_AT_ONCE = 64_000
# times that no spectrum says much about, left out of short tables
_ENDS = ("t0", "t95", "t99", "t100")
_HEADLINE = tuple(f"t{round(100 * f)}" for f in FRACTIONS if 0.0 < f <= 0.9)
QUANTILES = {"median": 0.5, "p16": 0.16, "p84": 0.84, "p2_5": 0.025, "p97_5": 0.975}


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks; everything needed to rebuild them before their weights are loaded."""

    n_components: int = 80
    width: int = 256
    depth: int = 4
    n_context: int = 128
    error_floor: float = 0.006
    transforms: int = 6
    hidden: tuple[int, ...] = (64, 64)
    bins: int = 8


class Network(nn.Module):
    """Encoder and flow under one roof."""

    def __init__(self, architecture: Architecture, n_pixels: int, n_features: int) -> None:
        super().__init__()
        self.encoder = ProjectionEncoder(
            n_pixels,
            n_components=architecture.n_components,
            width=architecture.width,
            depth=architecture.depth,
            n_context=architecture.n_context,
            error_floor=architecture.error_floor,
        )
        self.flow = ConditionalFlow(
            n_features,
            architecture.n_context,
            transforms=architecture.transforms,
            hidden=tuple(architecture.hidden),
            bins=architecture.bins,
        )

    def log_prob(self, u: Tensor, observation: Observation) -> Tensor:
        """Log posterior density (N,) of unbounded coordinates (N, D)."""
        return self.flow.log_prob(u, self.encoder(observation))


@dataclass(frozen=True)
class Posterior:
    """Posterior samples of one galaxy.

    Attributes
    ----------
    times : array of shape (n, 13)
        Cosmic times (Gyr) at which the mass fractions `FRACTIONS` (0 ... 100 %) had formed.
    metallicity : array of shape (n,)
        [M/H] in dex.
    a_v : array of shape (n,)
        Attenuation at 5500 Angstrom in mag.
    sigma_kms : array of shape (n,)
        Stellar velocity dispersion in km/s.
    age_of_universe : float
        Gyr, at the galaxy's redshift.
    spectrum : Spectrum
        What was fitted.
    verdict : Verdict
        Whether the answer can be trusted.
    seed : int
        Seed of the samples.
    model : str
        Name of the model.
    lines_masked : bool
        The windows of the emission lines were left out of the fit.
    """

    times: NDArray[np.float64]
    metallicity: NDArray[np.float64]
    a_v: NDArray[np.float64]
    sigma_kms: NDArray[np.float64]
    age_of_universe: float
    spectrum: Spectrum
    verdict: Verdict
    seed: int
    model: str
    lines_masked: bool = True

    def __len__(self) -> int:
        return len(self.metallicity)

    @property
    def formation_times(self) -> NDArray[np.float64]:
        """Cosmic time in Gyr when 10, 20 ... 90 % of the stellar mass had formed, shape (n, 9)."""
        return self.times[:, [FRACTIONS.index(f) for f in FRACTIONS if 0.0 < f <= 0.9]]

    def given_sigma(self, sigma_kms: float, *, error: float = 0.05, n_samples: int = 1000) -> Posterior:
        """Posterior given an independent measurement of the velocity dispersion.

        The samples are resampled with weights N(ln sigma; ln sigma_kms, error), the likelihood of the
        measurement.  If less than 1 % of the samples are effective, spectrum and measurement disagree: the
        verdict then names `sigma_conflict`.  Use many more samples than are wanted in the end.

        Parameters
        ----------
        sigma_kms : float
            Measured dispersion in km/s.
        error : float
            Its relative standard error.
        n_samples : int
            Samples to draw.
        """
        if not 0 < sigma_kms < np.inf:
            raise InputError(f"sigma is {sigma_kms}, expected a positive velocity dispersion in km/s; correct it")
        log_weight = -0.5 * (np.log(self.sigma_kms / sigma_kms) / error) ** 2
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        effective = 1 / np.sum(weight**2)
        keep = np.random.default_rng(self.seed).choice(len(weight), n_samples, p=weight)
        verdict = self.verdict.with_score("sigma_conflict", 0.01 * len(weight) / effective)
        arrays = {name: getattr(self, name)[keep] for name in ("times", "metallicity", "a_v", "sigma_kms")}
        return replace(self, **arrays, verdict=verdict)

    def columns(self) -> dict[str, tuple[NDArray[np.float64], str]]:
        """Samples (n,) and unit of every inferred quantity, by name."""
        named = {name: (self.formation_times[:, i], "Gyr") for i, name in enumerate(_HEADLINE)}
        named["mh"] = (self.metallicity, "dex")
        extra = {f: f"t{round(100 * f)}" for f in FRACTIONS if not 0.0 < f <= 0.9}
        named |= {name: (self.times[:, FRACTIONS.index(f)], "Gyr") for f, name in extra.items()}
        named["a_v"] = (self.a_v, "mag")
        named["sigma"] = (self.sigma_kms, "km/s")
        return named

    def summary(self) -> QTable:
        """Median and 68 and 95 % intervals of every quantity, one row each."""
        from astropy.table import QTable  # training needs this module but not astropy

        rows = [{"name": name, **row} for name, row in self.intervals().items()]
        return QTable(rows=rows, names=["name", *QUANTILES, "unit"])

    def intervals(self) -> dict[str, dict[str, float | str]]:
        """`summary` as plain numbers: name -> median, p16, p84, p2_5, p97_5, unit."""
        result: dict[str, dict[str, float | str]] = {}
        for name, (samples, unit) in self.columns().items():
            values = np.quantile(samples, list(QUANTILES.values()))
            result[name] = {**dict(zip(QUANTILES, map(float, values), strict=True)), "unit": unit}
        return result

    def _repr_html_(self) -> str:
        """Verdict, table and history, for notebooks."""
        title = (
            f"{self.spectrum.name}: z = {self.spectrum.redshift:.4f}, {len(self)} samples of model {self.model}"
        )
        shown = {name: values for name, values in self.intervals().items() if name not in _ENDS}
        verdict = (self.verdict.ok, self.verdict.text)
        return summary_html(title, verdict, shown, self.times, self.age_of_universe)


class Model:
    """An amortized posterior, ready to answer.

    Parameters
    ----------
    network : Network
        Encoder and flow.
    architecture : Architecture
        Their sizes.
    grid : LogGrid
        Rest-frame wavelength grid.
    library_fwhm : float
        Resolution (FWHM, Angstrom) of the SSP library it was trained on.
    parameters : ParameterMap
        Bounds of the parameters.
    thresholds : Thresholds
        Limits of the verdict's scores.
    card : dict
        Provenance: training configuration, prior, library, versions, metrics, licence.
    """

    def __init__(
        self,
        network: Network,
        *,
        architecture: Architecture,
        grid: LogGrid,
        library_fwhm: float,
        parameters: ParameterMap,
        thresholds: Thresholds,
        card: dict[str, Any],
    ) -> None:
        self.network = network.eval()
        # an answer must not depend on the batch it is computed in
        network.encoder.sum_dtype = torch.float64
        self.architecture = architecture
        self.grid = grid
        self.library_fwhm = library_fwhm
        self.parameters = parameters
        self.thresholds = thresholds
        self.card = card

    @property
    def name(self) -> str:
        """Name of the model, as its card gives it."""
        return str(self.card.get("name", "unnamed"))

    @overload
    def infer(
        self, spectra: Spectrum, *, n_samples: int = ..., seed: int = ..., mask_lines: bool = ...
    ) -> Posterior: ...
    @overload
    def infer(
        self, spectra: Sequence[Spectrum], *, n_samples: int = ..., seed: int = ..., mask_lines: bool = ...
    ) -> list[Posterior]: ...

    def infer(
        self,
        spectra: Spectrum | Sequence[Spectrum],
        *,
        n_samples: int = 1000,
        seed: int = 0,
        mask_lines: bool = True,
    ) -> Posterior | list[Posterior]:
        """Posterior of one spectrum, or a list of them as a batch.

        Parameters
        ----------
        spectra : Spectrum or sequence of Spectrum
            What to fit.
        n_samples : int
            Posterior samples for each galaxy.
        seed : int
            Seed of the samples.  The same seed gives a galaxy the same samples, alone or in any batch.
        mask_lines : bool
            Leave out the windows of the emission lines; keep them only for galaxies without emission.

        Raises
        ------
        SpectrumError
            If a spectrum does not overlap the model's wavelength range.
        InputError
            If less than one sample is asked for.
        """
        if n_samples < 1:
            raise InputError(f"n_samples is {n_samples}, expected at least 1; ask for more")
        if isinstance(spectra, Spectrum):
            return self.infer([spectra], n_samples=n_samples, seed=seed, mask_lines=mask_lines)[0]
        if not spectra:
            return []
        observation = observe(spectra, self.grid, self.library_fwhm, mask_lines=mask_lines)
        with torch.inference_mode():
            judged = scores(self.network.encoder, observation)
        posteriors = []
        for row, galaxy in enumerate(self.sample(observation, n_samples=n_samples, seed=seed)):
            times, metallicity, a_v, sigma_kms = (field.double().numpy() for field in galaxy)
            verdict = judge({name: float(s[row]) for name, s in judged.items()}, self.thresholds)
            age = float(observation.age_of_universe[row])
            provenance = (spectra[row], verdict, seed, self.name, mask_lines)
            posteriors.append(Posterior(times, metallicity, a_v, sigma_kms, age, *provenance))
        return posteriors

    @torch.inference_mode()
    def sample(self, observation: Observation, *, n_samples: int, seed: int) -> Iterator[GalaxyParameters]:
        """Posterior samples galaxy by galaxy, each a `GalaxyParameters` of batch shape (n_samples,)."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(n_samples, self.parameters.n_features, generator=generator)
        step = max(1, _SAMPLES_AT_ONCE // n_samples)
        for start in range(0, len(observation.flux), step):
            part = observation.rows(slice(start, start + step))
            u = self.network.flow.sample(self.network.encoder(part), noise).double()
            for row, age in zip(u, part.age_of_universe, strict=True):
                yield self.parameters.to_physical(row, age.double().expand(len(row)))

    @torch.inference_mode()
    def log_prob(self, u: Tensor, observation: Observation) -> Tensor:
        """Log posterior density (N,) of unbounded coordinates (N, D) given N observations."""
        return self.network.log_prob(u, observation)

    def save(self, directory: str | Path) -> None:
        """Write `weights.safetensors` and `card.json` into `directory` (made if missing)."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.contiguous() for k, v in self.network.state_dict().items()}, folder / "weights.safetensors"
        )
        card = {"format": CARD_FORMAT, **self.card, "setup": self._setup()}
        (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")

    def _setup(self) -> dict[str, Any]:
        return {
            "architecture": vars(self.architecture),
            "grid": {"low": self.grid.low, "high": self.grid.high, "step": self.grid.step},
            "library_fwhm": self.library_fwhm,
            "parameters": {name: vars(bounds) for name, bounds in vars(self.parameters).items()},
            "thresholds": dict(self.thresholds),
        }


def shipped_models() -> dict[str, Path]:
    """Models that come with the package, by name."""
    root = Path(str(resources.files("sfhflow") / "models"))
    return {path.parent.name: path.parent for path in sorted(root.glob("*/card.json"))}


def load_model(name_or_dir: str | Path = "default") -> Model:
    """Load a shipped model by name, or any model from its directory.

    Raises
    ------
    ModelError
        If there is no such model, or its files are damaged.
    """
    folder = shipped_models().get(str(name_or_dir), Path(name_or_dir))
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        names = ", ".join(shipped_models()) or "none"
        raise ModelError(
            f"{name_or_dir}: no model there ({missing[0]} is missing), expected a folder with "
            f"{' and '.join(_FILES)} or one of the shipped models ({names}); check --model"
        )
    try:
        card = json.loads((folder / "card.json").read_text())
        weights = load_file(folder / "weights.safetensors")
        return _build(card, weights)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{folder}: the model's files are damaged or of another version ({reason}), expected format "
            f"{CARD_FORMAT}; fetch or train the model again"
        ) from error


def _build(card: dict[str, Any], weights: dict[str, Tensor]) -> Model:
    if card["format"] != CARD_FORMAT:
        raise ValueError(f"format {card['format']}")
    setup = card.pop("setup")
    architecture = Architecture(**{**setup["architecture"], "hidden": tuple(setup["architecture"]["hidden"])})
    grid = LogGrid(**setup["grid"])
    parameters = ParameterMap(**{name: Bounded(**bounds) for name, bounds in setup["parameters"].items()})
    network = Network(architecture, grid.n_pixels, parameters.n_features)
    network.load_state_dict(weights)
    return Model(
        network,
        architecture=architecture,
        grid=grid,
        library_fwhm=setup["library_fwhm"],
        parameters=parameters,
        thresholds=dict(setup["thresholds"]),
        card=card,
    )
