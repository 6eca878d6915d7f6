"""The trained model: spectrum in, posterior out.

p(parameters | spectrum) = encoder (spectrum -> context) + flow (context -> density of unbounded coordinates)
+ parameter map (unbounded coordinates -> formation times, [M/H], dust, dispersion).  A model is a folder of
`weights.safetensors` and `card.json`; it needs neither the SSP library nor the simulator that made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfhflow.errors import InputError, ModelError
from sfhflow.grid import LogGrid
from sfhflow.network import Architecture, Network
from sfhflow.observation import Observation, observe
from sfhflow.parameters import Bounded, GalaxyParameters, ParameterMap
from sfhflow.posterior import Posterior
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import Thresholds, judge, scores

__all__ = ["Model", "load_model", "shipped_models"]

CARD_FORMAT = 2
_FILES = ("card.json", "weights.safetensors")
# Galaxies sampled at once: bounds the memory whatever the size of the batch.
_SAMPLES_AT_ONCE = 64_000


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

    def digest(self) -> str:
        """SHA-256 of the weights, by which results can tell which model they are of."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            found.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

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
