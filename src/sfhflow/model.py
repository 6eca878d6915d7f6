"""The trained model: spectrum in, posterior out.

p(parameters | spectrum) = encoder (spectrum -> context) + flow (context -> density of unbounded coordinates)
+ parameter map (unbounded coordinates -> formation times, [M/H], dust, dispersion).  A model is a folder of
`weights.safetensors`, `card.json` and, for mass-to-light ratios, `light.safetensors`; it needs neither the SSP
library nor the simulator that made it.
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

from sfhflow.answers import PosteriorBatch
from sfhflow.errors import InputError, ModelError
from sfhflow.grid import LogGrid
from sfhflow.information import PriorQuantiles
from sfhflow.light import Light
from sfhflow.network import Architecture, Network
from sfhflow.observation import Observation, observe
from sfhflow.parameters import Bounded, GalaxyParameters, ParameterMap
from sfhflow.posterior import Posterior
from sfhflow.spectrum import Spectrum
from sfhflow.variates import galaxy_keys, normal_variates
from sfhflow.verdict import Critic, Limits, Verdict, judge, scores, signal_to_noise

__all__ = ["Model", "load_model", "shipped_models"]

CARD_FORMAT = 3
_FILES = ("card.json", "weights.safetensors")
# Models trained on libraries without broad bands have no such file.
_LIGHT = "light.safetensors"
_CRITIC = "critic.safetensors"
# Galaxies encoded at once and samples drawn at once: they bound the memory whatever the size of the batch, and
# what is made of so many samples stays in the processor's caches.
_GALAXIES_AT_ONCE = 128
_SAMPLES_AT_ONCE = 8_000


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
    thresholds : Limits
        Limits of the verdict's scores, as functions of the signal-to-noise ratio.
    critic : Critic, optional
        Gives the verdict's scores of simulated faults.
    prior_quantiles : PriorQuantiles, optional
        Against which the information gain is measured.
    card : dict
        Provenance: training configuration, prior, library, versions, metrics, licence.
    light : Light, optional
        Light of the library's populations, which mass-to-light ratios and masses need.
    """

    def __init__(
        self,
        network: Network,
        *,
        architecture: Architecture,
        grid: LogGrid,
        library_fwhm: float,
        parameters: ParameterMap,
        thresholds: Limits,
        card: dict[str, Any],
        light: Light | None = None,
        critic: Critic | None = None,
        prior_quantiles: PriorQuantiles | None = None,
    ) -> None:
        self.network = network.eval()
        # an answer must not depend on the batch it is computed in
        network.encoder.sum_dtype = torch.float64
        self.architecture = architecture
        self.grid = grid
        self.library_fwhm = library_fwhm
        self.parameters = parameters
        self.thresholds = thresholds
        self.critic = critic
        self.prior_quantiles = dict(prior_quantiles or {})
        self.card = card
        self.light = light

    @property
    def name(self) -> str:
        """Name of the model, as its card gives it."""
        return str(self.card.get("name", "unnamed"))

    def to(self, device: str | torch.device) -> Model:
        """Compute on another device from now on, as "cuda"; returns the model.

        The random numbers are made on the CPU and the sums over pixels are taken in double precision, so that a
        galaxy's samples are the same on every device but for rounding in single precision.

        Raises
        ------
        InputError
            If the device cannot be used.
        """
        try:
            self.network.to(device)
            if self.critic is not None:
                self.critic.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise InputError(
                f"device is {str(device)!r}, which cannot be used ({reason}), expected cpu, or cuda where there "
                "is such a device; choose cpu"
            ) from error
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.network.parameters()).device

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
        if isinstance(spectra, Spectrum):
            return self.infer([spectra], n_samples=n_samples, seed=seed, mask_lines=mask_lines)[0]
        batches = self.infer_batches(spectra, n_samples=n_samples, seed=seed, mask_lines=mask_lines)
        return [posterior for batch in batches for posterior in batch]

    def infer_batches(
        self, spectra: Sequence[Spectrum], *, n_samples: int = 1000, seed: int = 0, mask_lines: bool = True
    ) -> Iterator[PosteriorBatch]:
        """Infer spectra a few at a time, in arrays that they share: for catalogues of any length.

        Parameters
        ----------
        spectra, n_samples, seed, mask_lines
            As for `infer`.

        Yields
        ------
        PosteriorBatch
            So many galaxies that their samples stay small.

        Raises
        ------
        SpectrumError, InputError
            As `infer` does, when the spectrum's turn comes.
        """
        if n_samples < 1:
            raise InputError(f"n_samples is {n_samples}, expected at least 1; ask for more")
        for start in range(0, len(spectra), _GALAXIES_AT_ONCE):
            some = spectra[start : start + _GALAXIES_AT_ONCE]
            observation = observe(some, self.grid, self.library_fwhm, mask_lines=mask_lines)
            contexts, verdicts = self._encode(observation)
            for rows, galaxies in self._samples(observation, contexts, n_samples=n_samples, seed=seed):
                times, metallicity, a_v, sigma_kms = (field.numpy() for field in galaxies)
                yield PosteriorBatch(
                    times,
                    metallicity,
                    a_v,
                    sigma_kms,
                    observation.age_of_universe[rows].numpy().astype(float),
                    some[rows],
                    verdicts[rows],
                    seed,
                    self.name,
                    mask_lines,
                    light=self.light,
                    prior_quantiles=self.prior_quantiles,
                )

    def sample(self, observation: Observation, *, n_samples: int, seed: int) -> Iterator[GalaxyParameters]:
        """Posterior samples galaxy by galaxy, each a `GalaxyParameters` of batch shape (n_samples,)."""
        for start in range(0, len(observation.flux), _GALAXIES_AT_ONCE):
            part = observation.rows(slice(start, start + _GALAXIES_AT_ONCE))
            with torch.inference_mode():
                contexts = self.network.encoder(part.to(self.device))
            for _, galaxies in self._samples(part, contexts, n_samples=n_samples, seed=seed):
                yield from (GalaxyParameters(*galaxy) for galaxy in zip(*galaxies, strict=True))

    @torch.inference_mode()
    def _encode(self, observation: Observation) -> tuple[Tensor, list[Verdict]]:
        """Contexts and verdicts of a few galaxies, from one projection."""
        encoder, observation = self.network.encoder, observation.to(self.device)
        projection = encoder.project(observation)
        raw = scores(encoder, observation, grid=self.grid, critic=self.critic, projection=projection)
        on_cpu = {name: values.cpu() for name, values in raw.items()}
        verdicts = judge(on_cpu, signal_to_noise(observation).cpu(), self.thresholds)
        return encoder(observation, projection), verdicts

    def _samples(
        self, observation: Observation, contexts: Tensor, *, n_samples: int, seed: int
    ) -> Iterator[tuple[slice, GalaxyParameters]]:
        """Samples of a few galaxies at a time, of batch shape (few, n_samples) on the CPU, and which they are."""
        keys = galaxy_keys(observation.flux, seed)
        ages = observation.age_of_universe.cpu().double()
        few = max(1, _SAMPLES_AT_ONCE // n_samples)
        for start in range(0, len(keys), few):
            rows = slice(start, start + few)
            with torch.inference_mode():
                noise = normal_variates(keys[rows], n_samples, self.network.flow.n_noise)
                u = self.network.flow.sample(contexts[rows], noise.to(contexts.device)).cpu().double()
                galaxies = self.parameters.to_physical(u, ages[rows, None].expand(-1, n_samples))
            yield rows, galaxies

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
        """Write the model's files into `directory` (made if missing)."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        if self.critic is not None:
            save_file(self.critic.state_dict(), folder / _CRITIC)
        save_file(
            {k: v.contiguous() for k, v in self.network.state_dict().items()}, folder / "weights.safetensors"
        )
        card = {"format": CARD_FORMAT, **self.card, "setup": self._setup()}
        (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
        if self.light:
            self.light.save(folder / _LIGHT)
        else:
            (folder / _LIGHT).unlink(missing_ok=True)

    def _setup(self) -> dict[str, Any]:
        return {
            "architecture": vars(self.architecture),
            "grid": {"low": self.grid.low, "high": self.grid.high, "step": self.grid.step},
            "library_fwhm": self.library_fwhm,
            "parameters": {name: vars(bounds) for name, bounds in vars(self.parameters).items()},
            "thresholds": {kind: dict(curves) for kind, curves in self.thresholds._asdict().items()},
            "prior_quantiles": self.prior_quantiles,
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
        light = Light.load(folder / _LIGHT) if (folder / _LIGHT).is_file() else None
        critic = load_file(folder / _CRITIC) if (folder / _CRITIC).is_file() else None
        return _build(card, weights, light, critic)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{folder}: the model's files are damaged or of another version ({reason}), expected format "
            f"{CARD_FORMAT}; fetch or train the model again"
        ) from error


def _build(
    card: dict[str, Any], weights: dict[str, Tensor], light: Light | None, critic: dict[str, Tensor] | None
) -> Model:
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
        thresholds=_limits(setup["thresholds"]),
        card=card,
        light=light,
        critic=None if critic is None else Critic.of_state(critic),
        prior_quantiles=setup.get("prior_quantiles"),
    )


def _limits(stored: dict[str, Any]) -> Limits:
    """Limits of a card; older ones had none that are still of use."""
    return Limits(**stored) if set(stored) == set(Limits._fields) else Limits({}, {}, {})
