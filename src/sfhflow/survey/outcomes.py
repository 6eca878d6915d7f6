"""From entries to rows: infer a batch, so that a bad spectrum never costs the others.

A batch is inferred together.  If one of its spectra is refused, each is tried alone on the model's grid, which is
cheap, and the others are inferred as a batch.  The rows keep the quantiles of `sfhflow.summaries`, not the
samples, unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sfhflow.errors import InputError, SpectrumError
from sfhflow.light import Light
from sfhflow.memory import keep_freed_memory
from sfhflow.model import Model
from sfhflow.observation import observe
from sfhflow.parameters import FRACTIONS
from sfhflow.parquet import Column
from sfhflow.posterior import QUANTILES, Posterior
from sfhflow.spectrum import Spectrum
from sfhflow.summaries import summarise
from sfhflow.survey.entries import Entry
from sfhflow.verdict import Verdict, score_names

__all__ = ["Outcome", "infer_entries", "one_thread", "result_columns", "sample_columns"]


# quantiles, probability of quiescence, verdict and samples of one spectrum
_Answer = tuple[NDArray[np.floating], float, Verdict, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one spectrum in the end.

    Attributes
    ----------
    input, index, name
        Its origin, as in `Entry`; the spectrum itself is dropped.
    facts : dict
        Redshift, resolution and signal-to-noise ratio; empty if it could not be read.
    quantiles : array of shape (Q, 5), or None
        Those of every quantity, NaN where undefined; None if it was refused.
    p_quiescent : float or None
        Probability that the galaxy is quiescent.
    verdict : Verdict or None
        Whether the answer can be trusted.
    samples : dict
        Samples of every inferred quantity as float32, if they are kept.
    error : str or None
        Why there is no answer.
    """

    input: str
    index: int | None
    name: str
    facts: dict[str, float | None]
    quantiles: NDArray[np.floating] | None
    p_quiescent: float | None
    verdict: Verdict | None
    samples: dict[str, NDArray[np.float32]]
    error: str | None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: sums then come out the same on any number of cores, and workers do not compete."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def infer_entries(
    model: Model, entries: Sequence[Entry], *, n_samples: int, seed: int, keep_samples: bool = False
) -> list[Outcome]:
    """Infer a batch of entries.

    Parameters
    ----------
    model : Model
        What to infer with.
    entries : sequence of Entry
        Spectra, or errors, which are passed on.
    n_samples : int
        Posterior samples for each.
    seed : int
        Seed of the samples.
    keep_samples : bool
        Keep the samples beside their summary.

    Returns
    -------
    list of Outcome
        One for each entry, in their order.
    """
    keep_freed_memory()
    good = [entry.spectrum for entry in entries if isinstance(entry.spectrum, Spectrum)]
    answers = iter(_infer(model, good, n_samples=n_samples, seed=seed, keep_samples=keep_samples))
    return [
        _outcome(entry, next(answers) if isinstance(entry.spectrum, Spectrum) else entry.spectrum)
        for entry in entries
    ]


def result_columns(
    outcomes: Sequence[Outcome], *, model: Model, version: str, seed: int, n_samples: int
) -> dict[str, Column]:
    """Columns of the table of results; they depend on the model alone."""
    n = len(outcomes)
    columns = _key_columns(outcomes)
    for name in ("redshift", "resolution", "snr"):
        kind = "float" if name == "redshift" else "float32"
        columns[name] = Column([outcome.facts.get(name) for outcome in outcomes], kind)
    units = _units(model.light)
    nothing = np.full((len(units), len(QUANTILES)), np.nan, dtype=np.float32)
    rows = [nothing if outcome.quantiles is None else outcome.quantiles for outcome in outcomes]
    values = np.stack([nothing, *rows])[1:]
    for i, (quantity, unit) in enumerate(units.items()):
        for j, label in enumerate(QUANTILES):
            # NaN becomes null
            columns[f"{quantity}_{label}"] = Column(values[:, i, j], "float32", unit)
    columns["p_quiescent"] = Column([outcome.p_quiescent for outcome in outcomes], "float32")
    verdicts = [outcome.verdict for outcome in outcomes]
    columns["verdict_ok"] = Column([None if v is None else v.ok for v in verdicts], "bool")
    columns["verdict_reasons"] = Column([None if v is None else list(v.reasons) for v in verdicts], "strings")
    for name in score_names(model.thresholds):
        columns[f"score_{name}"] = Column(
            [None if v is None else _finite(v.scores[name]) for v in verdicts], "float32"
        )
    columns["model"] = Column([model.name] * n, "string")
    columns["version"] = Column([version] * n, "string")
    columns["seed"] = Column([seed] * n, "int")
    columns["n_samples"] = Column([n_samples] * n, "int")
    columns["error"] = Column([outcome.error for outcome in outcomes], "string")
    return columns


def sample_columns(outcomes: Sequence[Outcome]) -> dict[str, Column]:
    """Columns of the table of samples: a list of samples in each row, null where there are none."""
    columns = _key_columns(outcomes)
    for name, (_, unit) in _example().columns().items():
        columns[name] = Column([outcome.samples.get(name) for outcome in outcomes], "floats32", unit)
    return columns


def _infer(
    model: Model, spectra: list[Spectrum], *, n_samples: int, seed: int, keep_samples: bool
) -> list[_Answer | InputError]:
    try:
        return list(_answers(model, spectra, n_samples=n_samples, seed=seed, keep_samples=keep_samples))
    except SpectrumError:
        refusals = [_refusal(model, spectrum) for spectrum in spectra]
    good = [spectrum for spectrum, refusal in zip(spectra, refusals, strict=True) if refusal is None]
    answers = _answers(model, good, n_samples=n_samples, seed=seed, keep_samples=keep_samples)
    return [next(answers) if refusal is None else refusal for refusal in refusals]


def _answers(
    model: Model, spectra: list[Spectrum], *, n_samples: int, seed: int, keep_samples: bool
) -> Iterator[_Answer]:
    for batch in model.infer_batches(spectra, n_samples=n_samples, seed=seed):
        summary = summarise(batch, dtype=np.float32)
        kept = batch.columns() if keep_samples else {}
        columns = {name: samples.astype(np.float32) for name, (samples, _) in kept.items()}
        for row, verdict in enumerate(batch.verdicts):
            samples = {name: column[row] for name, column in columns.items()}
            yield summary.quantiles[row], float(summary.p_quiescent[row]), verdict, samples


def _refusal(model: Model, spectrum: Spectrum) -> SpectrumError | None:
    try:
        observe([spectrum], model.grid, model.library_fwhm)
    except SpectrumError as error:
        return error
    return None


def _outcome(entry: Entry, answer: _Answer | InputError) -> Outcome:
    origin = entry.input, entry.index, entry.name
    facts = _facts(entry.spectrum) if isinstance(entry.spectrum, Spectrum) else {}
    if isinstance(answer, InputError):
        return Outcome(*origin, facts, None, None, None, {}, str(answer))
    quantiles, p_quiescent, verdict, samples = answer
    return Outcome(*origin, facts, quantiles, p_quiescent, verdict, samples, None)


def _facts(spectrum: Spectrum) -> dict[str, float | None]:
    known = spectrum.resolution is not None
    resolution = float(np.median(spectrum.resolution[~spectrum.mask])) if known else None  # type: ignore[index]
    return {"redshift": spectrum.redshift, "resolution": resolution, "snr": _finite(spectrum.snr)}


def _key_columns(outcomes: Sequence[Outcome]) -> dict[str, Column]:
    return {
        "input": Column([outcome.input for outcome in outcomes], "string"),
        "index": Column([outcome.index for outcome in outcomes], "int"),
        "name": Column([outcome.name for outcome in outcomes], "string"),
    }


def _units(light: Light | None) -> dict[str, str]:
    """Names and units of all quantities, those derived from the samples too."""
    return summarise(_example(light)).units


def _example(light: Light | None = None) -> Posterior:
    """Any posterior: its columns are those of all others."""
    spectrum = Spectrum(wavelength=[4000.0, 5000.0], flux=[1.0, 1.0], ivar=[1.0, 1.0], redshift=0.0)  # type: ignore[arg-type]
    times, zeros = np.linspace(0.0, 13.0, len(FRACTIONS))[None], np.zeros(1)
    verdict = Verdict(ok=True, reasons=(), scores={})
    return Posterior(times, zeros, zeros, zeros, 13.0, spectrum, verdict, 0, "", light=light)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
