"""The same flow on the same contexts, in isometric and in nested coordinates of the formation times.

    python -m benchmarks.coordinates [-n 250000] [--steps 4000] [--model NAME_OR_DIR] [--out FILE.json] [--quick]

Galaxies are simulated from the model's configuration and turned into contexts by its encoder.  A fresh flow of the
model's architecture is trained on them in each kind of coordinates (`sfhflow.log_ratios`), for as many steps, in
the same batches; the encoder was trained with nested ones.  For galaxies that neither flow has seen: the mean
log-probability of the truth, in nested coordinates, and the shares of galaxies whose t50, t80 and t90 lie inside
the 68 % intervals.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.architectures import PAGE, ROOT, on_page, signal_to_noise
from benchmarks.markdown import table
from sfhflow import Model, load_model
from sfhflow.config import Config
from sfhflow.flow import FLOWS, Flow
from sfhflow.log_ratios import (
    isometric_to_times,
    log_volume_ratio,
    nested_to_isometric,
    times_to_nested,
)
from sfhflow.parameters import FRACTIONS
from sfhflow.train import stream_seed

RESULTS = ROOT / "benchmarks" / "results" / "coordinates.json"
MARKS = ("<!-- coordinates -->", "<!-- end of coordinates -->")
BINS = {"S/N 10 to 30": (10.0, 30.0), "S/N 30 to 100": (30.0, 100.0), "S/N 100 to 300": (100.0, 300.0)}
SHOWN = {"t50": FRACTIONS.index(0.5), "t80": FRACTIONS.index(0.8), "t90": FRACTIONS.index(0.9)}
# first batch in the stream of seeds "test"
_PLACE = 70_000_000
_BATCH, _RATE, _WARMUP = 512, 3e-3, 200
_N_SAMPLES, _N_TIMES = 300, len(FRACTIONS)


class Galaxies(NamedTuple):
    """Contexts (N, C), nested coordinates (N, D) and signal-to-noise ratios (N,) per pixel."""

    context: Tensor
    u: Tensor
    snr: Tensor


class Coordinates(NamedTuple):
    """From nested coordinates of a galaxy and back, and the log volume of a unit volume of nested ones."""

    there: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    log_volume: float


def _on_times(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Apply a change of coordinates to those of the times, in double precision."""
    return lambda u: torch.cat([change(u[..., :_N_TIMES].double()).to(u), u[..., _N_TIMES:]], dim=-1)


COORDINATES = {
    "nested": Coordinates(lambda u: u, lambda u: u, 0.0),
    "isometric": Coordinates(
        _on_times(nested_to_isometric),
        _on_times(lambda r: times_to_nested(isometric_to_times(r))),
        log_volume_ratio(_N_TIMES),
    ),
}


@torch.no_grad()
def simulate(model: Model, n: int) -> Galaxies:
    """Simulated galaxies as the model's encoder sees them."""
    config = Config.model_validate(model.card["config"])
    simulator, rows = config.simulator(), []
    for number in range(math.ceil(n / _BATCH)):
        batch = simulator.sample(_BATCH, seed=stream_seed(config.plan.seed, "test", _PLACE + number))
        context = model.network.encoder(batch.observation)
        rows.append(Galaxies(context, batch.u, signal_to_noise(batch.observation)))
    return Galaxies(*(torch.cat(part) for part in zip(*rows, strict=True)))


def train(flow: Flow, context: Tensor, u: Tensor, steps: int) -> None:
    """Fit a flow to pairs, with a rate that rises and falls as in `sfhflow.train`."""
    flow.standardise(u)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=_RATE, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        rate = _RATE * min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randint(len(u), (_BATCH,), generator=generator)
        loss = -flow.log_prob(u[chosen], context[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()


@torch.no_grad()
def measure(model: Model, flow: Flow, galaxies: Galaxies, coordinates: Coordinates) -> dict[str, Any]:
    """Held-out log-probability and coverage."""
    generator = torch.Generator().manual_seed(2)
    log_prob, rank = [], []
    for context, u, _ in zip(*(part.split(_BATCH) for part in galaxies), strict=True):
        log_prob.append(flow.log_prob(coordinates.there(u), context) + coordinates.log_volume)
        noise = torch.randn(len(u), _N_SAMPLES, flow.n_noise, generator=generator)
        samples = coordinates.back(flow.sample(context, noise))
        one = torch.ones(len(u))
        truth = model.parameters.to_physical(u, one).times
        rank.append((model.parameters.to_physical(samples, one[:, None]).times < truth[:, None]).float().mean(1))
    inside = (torch.cat(rank) - 0.5).abs() < 0.34
    result: dict[str, Any] = {"log_prob": float(torch.cat(log_prob).mean())}
    for label, (low, high) in BINS.items():
        row = inside[(galaxies.snr >= low) & (galaxies.snr < high)]
        result[label] = {"n": len(row), **{name: float(row[:, k].float().mean()) for name, k in SHOWN.items()}}
    return result


def markdown(record: dict[str, Any]) -> str:
    """The results as Markdown."""
    first = next(iter(record["coordinates"].values()))
    heads = [f"{label}: {name}" for label in BINS for name in SHOWN]
    rows = []
    for name, found in record["coordinates"].items():
        shares = [f"{100 * found[label][quantity]:.1f}" for label in BINS for quantity in SHOWN]
        rows.append([name, f"{found['log_prob']:.2f}", *shares])
    lines = table(["coordinates", "nats", *heads], rows)
    counts = ", ".join(f"{label}: {first[label]['n']}" for label in BINS)
    caption = (
        "Mean log-probability of the truth, and per cent of galaxies inside the 68 % interval "
        f"({counts});\n{record['steps']} steps on {record['trained_on']} galaxies. "
        "Printed by `python -m benchmarks.coordinates`."
    )
    return "\n".join([*lines, "", caption, ""])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=250_000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--model", default="default")
    parser.add_argument("--quick", action="store_true", help="see that it runs")
    parser.add_argument("--out", type=Path, help=f"results ({RESULTS.relative_to(ROOT)}, and the page)")
    options = parser.parse_args()
    n, steps = (4096, 20) if options.quick else (options.n, options.steps)
    model = load_model(options.model)
    galaxies = simulate(model, n)
    n_train = 6 * len(galaxies.u) // 7
    held_out = Galaxies(*(part[n_train:] for part in galaxies))
    record: dict[str, Any] = {"model": model.name, "trained_on": n_train, "steps": steps, "coordinates": {}}
    for name, coordinates in COORDINATES.items():
        a = model.architecture
        flow = FLOWS[a.flow](
            galaxies.u.shape[1],
            a.n_context,
            components=a.components,
            transforms=a.transforms,
            hidden=tuple(a.hidden),
            bins=a.bins,
        )
        train(flow, galaxies.context[:n_train], coordinates.there(galaxies.u[:n_train]), steps)
        record["coordinates"][name] = measure(model, flow, held_out, coordinates)
    print(markdown(record))
    if options.out or not options.quick:
        (options.out or RESULTS).write_text(json.dumps(record, indent=1) + "\n")
    if not (options.out or options.quick):
        PAGE.write_text(on_page(PAGE.read_text(), markdown(record), MARKS))


if __name__ == "__main__":
    main()
