"""Our inference beside `sbi` and a plain zuko flow, in one run on one core.

    python -m benchmarks.speed.inference [-n 256] [--samples 1000] [--minutes 5] [--model M] [--out FILE.json]

Needs `sbi` (`pip install sbi`) beside this package.  All draw samples of as many coordinates from contexts of the
same length.

* Ours is timed from spectra to posteriors: rebinning, encoding, sampling, physical parameters and verdicts; and
  with the quantiles of all inferred and derived quantities besides.
* `sbi` draws with `sample_batched` from a masked autoregressive flow of the thesis' size (5 MADE blocks of two
  hidden layers with 128 units) in the way that is fastest for it: contexts are given, no sample is ever rejected,
  and nothing is made of the samples.  Weights do not matter for its speed: it is not trained.
* A plain zuko neural spline flow (autoregressive, 5 transforms of 2 x 128 units), trained for `--minutes` on our
  encoder's contexts of simulated galaxies, and its log-probability beside ours for galaxies that neither has seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import zuko
from torch import Tensor

from benchmarks.speed.measure import best_of, report
from benchmarks.speed.mocks import mock_spectra
from sfhflow import Model, Spectrum, load_model
from sfhflow.config import Config
from sfhflow.memory import keep_freed_memory
from sfhflow.observation import observe
from sfhflow.summaries import summarise
from sfhflow.train import stream_seed
from sfhflow.variates import galaxy_keys, normal_variates

BLOCKS, WIDTH = 5, 128
# samples that inference draws at once
BLOCK = 8_000
HELD_OUT, BATCH = 2_048, 512


class Pairs(NamedTuple):
    """Coordinates (N, D) of simulated galaxies and the contexts (N, C) of their spectra."""

    u: Tensor
    context: Tensor


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=256, help="spectra that we infer")
    parser.add_argument("--few", type=int, default=16, help="those that the slower ones sample")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of training for the plain flow; 0 leaves it out"
    )
    parser.add_argument("--trained-on", type=int, default=16_384, help="galaxies simulated for that training")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    model = load_model(given.model)
    held_out = pairs(model, HELD_OUT if given.minutes else given.few, "test")
    spectra = list(mock_spectra(model, given.n))
    ours = our_times(model, spectra, given.samples)
    sbi = sbi_time(held_out, given.few, given.samples)
    numbers: dict[str, Any] = {
        "settings": {
            "spectra": given.n,
            "samples": given.samples,
            "model": given.model,
            "coordinates": model.parameters.n_features,
        },
        "ms_a_galaxy": {**ours, "sbi_maf": sbi},
        "our_stages_ms": stages(model, spectra, given.samples),
        "ratios": {"sbi_over_ours": sbi / ours["inference"]},
    }
    if given.minutes:
        plain = trained_plain_flow(pairs(model, given.trained_on, "train"), given.minutes)
        seconds = plain_time(plain, held_out, given.few, given.samples)
        numbers["ms_a_galaxy"]["zuko_spline_flow"] = seconds
        numbers["ratios"]["zuko_over_ours"] = seconds / ours["inference"]
        numbers["held_out_log_prob"] = log_probs(model, plain, held_out)
    report("inference", numbers, given.out)


def our_times(model: Model, spectra: list[Spectrum], n_samples: int) -> dict[str, float]:
    """Milliseconds a galaxy from spectra to posteriors, and to the summaries of a catalogue."""
    uses: dict[str, Callable] = {
        "inference": lambda batch: batch,
        "inference_and_summaries": lambda batch: summarise(batch, dtype="float32"),
    }
    list(model.infer_batches(spectra[:64], n_samples=n_samples))
    times = {}
    for name, use in uses.items():
        seconds, _ = best_of(
            lambda use=use: [use(b) and None for b in model.infer_batches(spectra, n_samples=n_samples)]
        )
        times[name] = 1e3 * seconds / len(spectra)
    return times


def stages(model: Model, spectra: list[Spectrum], n_samples: int) -> dict[str, float]:
    """Milliseconds a galaxy of each part of the work, in blocks of the size that inference takes."""
    few = min(len(spectra), max(1, BLOCK // n_samples))
    observation = observe(spectra, model.grid, model.library_fwhm)
    network, ages = model.network, observation.age_of_universe[:, None].double().expand(-1, n_samples)
    keys = galaxy_keys(observation.flux, 0)
    n_noise = getattr(network.flow, "n_noise", model.parameters.n_features)
    noise = normal_variates(keys[:few], n_samples, n_noise)
    batch = next(model.infer_batches(spectra[:few], n_samples=n_samples))
    blocks = [slice(start, start + few) for start in range(0, len(spectra) - few + 1, few)]
    with torch.inference_mode():
        contexts = network.encoder(observation)
        u = network.flow.sample(contexts[:few], noise).double()
        work: dict[str, Callable] = {
            "rebinning": lambda: observe(spectra, model.grid, model.library_fwhm),
            "encoding": lambda: network.encoder(observation),
            "random_numbers": lambda: [normal_variates(keys[b], n_samples, n_noise).shape for b in blocks],
            "flow": lambda: [network.flow.sample(contexts[b], noise).shape for b in blocks],
            "physical_parameters": lambda: [model.parameters.to_physical(u, ages[b]) and None for b in blocks],
            "summaries": lambda: [summarise(batch, dtype="float32") and None for _ in blocks],
        }
        n = {name: len(spectra) if name in ("rebinning", "encoding") else few * len(blocks) for name in work}
        return {name: 1e3 * best_of(do)[0] / n[name] for name, do in work.items()}


def pairs(model: Model, n: int, stream: str) -> Pairs:
    """Simulate galaxies as the model was trained on, and encode them."""
    return Pairs(*(torch.cat(column)[:n] for column in zip(*_batches(model, n, stream), strict=True)))


def _batches(model: Model, n: int, stream: str) -> Iterator[tuple[Tensor, Tensor]]:
    config = Config.model_validate(model.card["config"])
    simulator = config.simulator()
    for number in range(-(-n // BATCH)):
        # far beyond the batches that training takes
        batch = simulator.sample(BATCH, seed=stream_seed(config.plan.seed, stream, 10_000_000 + number))
        with torch.inference_mode():
            yield batch.u, model.network.encoder(batch.observation)


def sbi_time(data: Pairs, few: int, n_samples: int) -> float:
    """Milliseconds a galaxy of sbi's `sample_batched`."""
    from sbi.inference.posteriors import DirectPosterior
    from sbi.neural_nets import posterior_nn

    build = posterior_nn("maf", hidden_features=WIDTH, num_transforms=BLOCKS, num_blocks=2)
    n_features = data.u.shape[1]
    u, context = data.u.clone(), data.context.clone()
    estimator = build(u, context)
    # so wide that sbi never has to draw a second time
    prior = torch.distributions.MultivariateNormal(torch.zeros(n_features), 1e12 * torch.eye(n_features))
    posterior = DirectPosterior(estimator.eval(), prior)

    def draw() -> Tensor:
        return posterior.sample_batched((n_samples,), x=context[:few], show_progress_bars=False)

    seconds, drawn = best_of(draw, 2)
    if drawn.shape != (n_samples, few, n_features):
        raise RuntimeError(f"sbi drew {tuple(drawn.shape)}")
    return 1e3 * seconds / few


def trained_plain_flow(data: Pairs, minutes: float) -> torch.nn.Module:
    """Train a neural spline flow of zuko on contexts, with coordinates scaled to unit variance."""
    torch.manual_seed(0)
    u = (data.u - data.u.mean(0)) / data.u.std(0)
    flow = zuko.flows.NSF(u.shape[1], data.context.shape[1], transforms=BLOCKS, hidden_features=(WIDTH, WIDTH))
    flow.mean, flow.scale = data.u.mean(0), data.u.std(0)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-3)
    end = time.monotonic() + 60 * minutes
    while (left := end - time.monotonic()) > 0:
        rows = torch.randint(len(u), (BATCH,))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, 3 * left / (60 * minutes))
        loss = -flow(data.context[rows]).log_prob(u[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
    return flow.eval()


def plain_time(flow: torch.nn.Module, data: Pairs, few: int, n_samples: int) -> float:
    """Milliseconds a galaxy of sampling from a zuko flow."""

    @torch.inference_mode()
    def draw() -> Tensor:
        return flow(data.context[:few]).sample((n_samples,))

    return 1e3 * best_of(draw, 2)[0] / few


@torch.inference_mode()
def log_probs(model: Model, plain: Any, data: Pairs) -> dict[str, float]:
    """Mean log-probability of unseen galaxies by our flow and by the plain one."""
    ours = model.network.flow.log_prob(data.u, data.context).mean()
    theirs = (plain(data.context).log_prob((data.u - plain.mean) / plain.scale) - plain.scale.log().sum()).mean()
    return {"ours": float(ours), "zuko_spline_flow": float(theirs)}


if __name__ == "__main__":
    main()
