"""Stage: what an answer costs (thesis section 4.2): encoder and 1000 posterior samples of a galaxy, and training.

The thesis reports 0.4 s a galaxy and four hours of training (one for the encoder, three for the flow) on an NVIDIA
P100.  Here the same network, with all its channels (its weights do not matter for that), and the same flow are
timed on this machine's processor, one galaxy at a time and many at once, as the fastest of several repetitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.markdown import table
from benchmarks.thesis.context import Context
from benchmarks.thesis.network import CHANNELS, ThesisNetwork
from benchmarks.thesis.ours import trained
from benchmarks.thesis.posterior import load_flow

__all__ = ["run", "section"]

THESIS_SECONDS = 0.4
THESIS_HOURS = 4.0
N_SAMPLES = 1000
_TOGETHER = 32
_THESIS_SPECTRA = 250 * 128 * 128


def run(context: Context) -> dict[str, Any]:
    """Time the thesis' way."""
    data = context.dataset("discrete")
    network, flow = ThesisNetwork(channels=context.size(CHANNELS, CHANNELS, 32)).eval(), load_flow(context)
    spectra = data.spectra(slice(data.test.start, data.test.start + context.size(_TOGETHER, 10, 4)))
    repeat = context.size(3, 2, 1)

    @torch.no_grad()
    def answer(n: int) -> None:
        flow.sampler(network.encode(spectra[:n]), N_SAMPLES)

    @torch.no_grad()
    def encode(n: int) -> None:
        network.encode(spectra[:n])

    n = len(spectra)
    posterior = context.result("posterior")
    alone = fastest(lambda: answer(1), repeat)
    result = {
        "threads": torch.get_num_threads(),
        "n_together": n,
        "seconds_alone": alone,
        "seconds_together": fastest(lambda: answer(n), repeat) / n,
        "encoder_seconds_alone": fastest(lambda: encode(1), repeat),
        "encoder_seconds_together": fastest(lambda: encode(n), repeat) / n,
        "thesis_seconds_over_ours": THESIS_SECONDS / alone,
        "hours_of_thesis_encoder": _THESIS_SPECTRA * training_seconds(network, spectra) / 3600,
        "sampling_ms": {
            name: posterior[name]["ms_per_1000_samples"] for name in ("sfhflow", "sbi") if name in posterior
        },
    }
    if context.file("ours-full.safetensors").exists():
        result |= our_seconds(context, n, repeat)
    return result


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''} of a processor"
    together = f"{result['n_together']} at once, each"
    labels = {
        "encoder_seconds_alone": "encoder, one galaxy",
        "encoder_seconds_together": f"encoder, {together}",
        "seconds_alone": f"encoder and {N_SAMPLES} samples, one galaxy",
        "seconds_together": f"the same, {together}",
        "ours_seconds_alone": f"our own answer with {N_SAMPLES} samples, one galaxy",
        "ours_seconds_together": f"the same, {together}",
    }
    stated = {"seconds_alone": f"{1e3 * THESIS_SECONDS:.0f}"}
    rows = [
        (label, f"{1e3 * result[key]:.3g}", stated.get(key, "")) for key, label in labels.items() if key in result
    ]
    sampling = [f"{value:.0f} ms by {name}" for name, value in result["sampling_ms"].items()]
    return [
        f"The thesis' encoder and flow by this package on {threads}; the thesis used an NVIDIA P100.",
        "",
        *table(("", "ms here", "ms in the thesis"), rows),
        "",
        f"1000 samples of the thesis' flow for each of many galaxies: {', '.join(sampling)}.",
        "",
        "Training: the minutes of encoder and flow are in their sections above; on this processor the encoder "
        f"would take {result['hours_of_thesis_encoder']:.0f} hours. The thesis took {THESIS_HOURS:.0f} hours "
        "for both.",
    ]


def our_seconds(context: Context, n: int, repeat: int) -> dict[str, float]:
    """Seconds of our own answer for one galaxy, and for each of `n` at once, from spectra to samples."""
    answer, _ = trained(context, "full")
    data = context.dataset("continuous")
    spectra, basis = data.spectra(slice(data.test.start, data.test.start + n)), data.basis

    @torch.no_grad()
    def ask(count: int) -> None:
        for _ in answer.sample(answer.features(spectra[:count] @ basis.T), N_SAMPLES, seed=0):
            pass

    return {
        "ours_seconds_alone": fastest(lambda: ask(1), repeat),
        "ours_seconds_together": fastest(lambda: ask(n), repeat) / n,
    }


def training_seconds(network: ThesisNetwork, spectra: Tensor) -> float:
    """Seconds for each spectrum in a training step."""

    def step() -> None:
        network(spectra).sum().backward()

    return fastest(step, 1) / len(spectra)


def fastest(work: Callable[[], None], repeat: int) -> float:
    """Seconds of the fastest repetition, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
