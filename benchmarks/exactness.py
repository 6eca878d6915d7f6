"""Amortized inference, refined and not, against nested sampling of the same prior and likelihood.

    python -m benchmarks.exactness [--n 100] [--model NAME_OR_DIR] [--base prior] [--save]

Mock galaxies of signal-to-noise ratios 5 to 100 are simulated from the model's own configuration and fitted
three ways: by the model, by the model refined with the true likelihood (`sfhflow.exact`), and by nested sampling
of the same prior and likelihood with nautilus.  By default nautilus looks in a region: in the coordinates of the
model's flow, the cube is mapped to logistic distributions wider than the model's unrefined samples, and prior
times likelihood over their density is sampled.  Target and evidence are the same; a mode far outside the model's
answer could be missed.  `--base prior` starts from the prior and takes nothing from the model.

The mocks come from the full simulator.  The likelihood treats what is random beyond the parameters as Gaussian
about one spectrum.  Refined and nested samples share that approximation and unrefined ones do not, so the
divergence of the latter includes it.  Printed are the Jensen-Shannon divergences of the marginals of the ten
headline quantities from those of nested sampling, the difference in evidence, effective sample sizes, and what
each costs in seconds of one processor.  Nested sampling that has not collected its samples in some time is given
up, and such galaxies are counted.  Every galaxy's results are files in --out, and what is there is not computed
again: interrupt and repeat to resume, also with a larger --n.  `--save` writes benchmarks/results and the page of
the documentation; galaxies of the same weights and settings that are there, nested sampling finished, are not
computed again either, so the hundred can be made in several sittings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.exactness_page import PAGE, RESULTS, on_page, summary, text
from sfhflow import load_model, refiner
from sfhflow.certificate.trial import headline
from sfhflow.exact import AmortizedProposal, LogisticBase, Refiner, nested_sampling, sample_target
from sfhflow.observation import Observation
from sfhflow.train import stream_seed

SNR_RANGE = (5.0, 100.0)
BUDGET, N_PRIOR, N_COMPARED = 20_000, 20_000, 10_000
# nautilus: live points and effective samples
LIVE, EFFECTIVE = 400, 2000
# seconds that it may take
SECONDS = 120.0
# width of the density in which nautilus looks, relative to the model's samples and to the prior
INFLATION = {"model": 1.3, "prior": 1.3}
BINS = 25

Array = NDArray[np.float64]


def divergence(p: Array, q: Array) -> float:
    """Jensen-Shannon divergence (nats) of two samples, in bins that hold equal shares of the second.

    Two samples of n points from one distribution have about (BINS - 1) / (4 n).
    """
    edges = np.quantile(q, np.linspace(0, 1, BINS + 1)[1:-1])
    a, b = (np.bincount(np.searchsorted(edges, x), minlength=BINS) / len(x) for x in (p, q))
    middle = 0.5 * (a + b)
    return 0.5 * sum(float(np.sum(x[x > 0] * np.log(x[x > 0] / middle[x > 0]))) for x in (a, b))


def divergences(p: Array, q: Array) -> list[float]:
    """Of all columns."""
    return [round(divergence(a, b), 5) for a, b in zip(p.T, q.T, strict=True)]


def signal_to_noise(observation: Observation) -> float:
    """Median signal-to-noise ratio per observed pixel of a batch of one."""
    good = observation.ivar[0] > 0
    return float((observation.flux[0] * observation.ivar[0].sqrt())[good].median())


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds of the processor, which other programs do not lengthen."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


@dataclass
class Benchmark:
    """All ways to fit a mock galaxy.

    Attributes
    ----------
    fit : Refiner
        Model and true likelihood.
    seed : int
        Of the model's training: the mocks are others than its own.
    folder : Path
        Where results are kept, for these weights alone.
    base : {"model", "prior"}
        Where nautilus looks.
    live : int
        Its live points.
    """

    fit: Refiner
    seed: int
    folder: Path
    base: str
    live: int

    def observation(self, i: int) -> Observation:
        """Mock galaxy number i."""
        simulator = self.fit.simulator
        bright = replace(simulator, noise=replace(simulator.noise, snr_range=SNR_RANGE))
        return bright.sample(1, seed=stream_seed(self.seed, "test", 1_000_000 + i)).observation

    def quantities(self, u: Tensor, observation: Observation) -> Array:
        """The ten headline quantities (N, 10)."""
        ages = observation.age_of_universe.double().expand(len(u))
        return headline(self.fit.model.parameters.to_physical(u, ages), ages)

    def nested(self, i: int) -> dict[str, Any]:
        """Nested sampling of galaxy i, or what was found before."""
        path = self.folder / f"{i:04d}-{self.base}-{self.live}.npz"
        if not path.exists():
            observation = self.observation(i)
            generator = torch.Generator().manual_seed(i)
            (target, latent), building = timed(lambda: self.fit.target(observation, seed=i))
            around = latent.sample(BUDGET, generator)
            if self.base == "prior":
                like, simulator = self.fit.likelihood(observation, seed=i), self.fit.simulator
                around = self.fit.model.parameters.to_unbounded(*simulator.prior.sample(N_PRIOR, generator))

                def target(u: Tensor) -> Tensor:
                    return self.fit.log_posterior(u, like)

            region = LogisticBase.around(around, inflation=INFLATION[self.base])
            found, seconds = timed(
                lambda: nested_sampling(
                    target, region, seed=i, n_live=self.live, n_effective=EFFECTIVE, seconds=SECONDS
                )
            )
            points = found.resample(N_COMPARED, generator)
            u = points if self.base == "prior" else latent.to_unbounded(points)
            _write(
                path,
                samples=self.quantities(u, observation).astype(np.float32),
                log_evidence=found.log_evidence,
                effective=found.effective,
                calls=found.n_evaluations,
                seconds=seconds + building,
            )
        return dict(np.load(path))

    def one(self, i: int, *, with_nested: bool) -> dict[str, Any]:
        """Results of galaxy i, or what was found before; nested sampling comes first."""
        truth = self.nested(i) if with_nested else None
        path = self.folder / f"{i:04d}-{'refined' if truth is None else f'{self.base}-{self.live}'}.json"
        if not path.exists():
            result = self.compare(self.observation(i), i, truth)
            path.with_suffix(".part").write_text(json.dumps(result, indent=1) + "\n")
            path.with_suffix(".part").rename(path)
            print(f"galaxy {i}: S/N {result['snr']:.0f}, {result['effective']:.0f} effective", flush=True)
        return dict(json.loads(path.read_text()))

    def compare(self, observation: Observation, i: int, truth: dict[str, Any] | None) -> dict[str, Any]:
        """Amortized and refined answers, and their divergence from the truth."""
        fit, generator = self.fit, torch.Generator().manual_seed(i)
        _, answering = timed(lambda: AmortizedProposal(fit.model, observation).sample(1000, generator))
        (target, latent), building = timed(lambda: fit.target(observation, seed=i))
        refined, refining = timed(
            lambda: sample_target(target, latent, budget=BUDGET, wanted=fit.wanted, generator=generator)
        )
        direct = self.quantities(latent.to_unbounded(latent.sample(N_COMPARED, generator)), observation)
        mine = self.quantities(latent.to_unbounded(refined.resample(N_COMPARED, generator)), observation)
        result = {
            "number": i,
            "snr": signal_to_noise(observation),
            "amortized_efficiency": refined.first_efficiency,
            "effective": refined.effective,
            "efficiency": refined.efficiency,
            "evaluations": refined.n_evaluations,
            "pareto_k": refined.pareto_k,
            "log_evidence": refined.log_evidence,
            "log_evidence_error": refined.log_evidence_error,
            "evaluation_us": 1e6 * timed(lambda: target(latent.sample(2000, generator)))[1] / 2000,
            "seconds_amortized": answering,
            "seconds_refined": building + refining,
            "jsd_amortized_refined": divergences(direct, mine),
        }
        if truth is not None:
            result["nested_finished"] = float(truth["effective"]) >= EFFECTIVE
        if truth is not None and result["nested_finished"]:
            result |= {f"nested_{name}": float(truth[name]) for name in ("log_evidence", "effective", "calls")}
            result["seconds_nested"] = float(truth["seconds"])
            result["jsd_refined"] = divergences(mine, truth["samples"])
            result["jsd_amortized"] = divergences(direct, truth["samples"])
        return {key: round(value, 5) if isinstance(value, float) else value for key, value in result.items()}


def _write(path: Path, **arrays: Any) -> None:
    """Write an .npz file at once or not at all."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **arrays)
    part.rename(path)


def saved(settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Galaxies, by number, that `--save` has kept of the same settings and nested sampling has finished."""
    if not RESULTS.exists():
        return {}
    record = json.loads(RESULTS.read_text())
    if any(record.get(key) != value for key, value in settings.items()):
        return {}
    return {galaxy["number"]: galaxy for galaxy in record["galaxies"] if galaxy.get("nested_finished")}


def fingerprint(fit: Refiner) -> str:
    """Eight hexadecimal digits that tell one model's weights from another's."""
    digest = hashlib.sha256()
    for tensor in fit.model.network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="galaxies")
    parser.add_argument("--first", type=int, default=0, help="number of the first galaxy")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, default=Path("runs/exactness"))
    parser.add_argument("--no-nested", action="store_true", help="refine only")
    parser.add_argument("--nested-only", action="store_true", help="nested sampling only, to be compared later")
    parser.add_argument("--base", choices=list(INFLATION), default="model", help="where nautilus looks")
    parser.add_argument("--live", type=int, default=LIVE, help="live points of nautilus")
    parser.add_argument("--save", action="store_true", help="write the results and the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fit = refiner(load_model(arguments.model))
    folder = arguments.out / fingerprint(fit)
    folder.mkdir(parents=True, exist_ok=True)
    seed = fit.model.card["config"]["plan"]["seed"]
    benchmark = Benchmark(fit, seed, folder, arguments.base, arguments.live)
    numbers = range(arguments.first, arguments.first + arguments.n)
    if arguments.nested_only:
        for i in numbers:
            print(f"galaxy {i}: {float(benchmark.nested(i)['seconds']):.0f} s of nested sampling", flush=True)
        return
    settings = {"weights": fingerprint(fit), "base": arguments.base, "live": arguments.live, "budget": BUDGET}
    earlier = {} if arguments.no_nested else saved(settings)
    galaxies = [earlier.get(i) or benchmark.one(i, with_nested=not arguments.no_nested) for i in numbers]
    record = settings | {"summary": summary(galaxies), "galaxies": galaxies}
    print(text(record))
    if arguments.save:
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")
        PAGE.write_text(on_page(PAGE.read_text(), text(record)))


if __name__ == "__main__":
    main()
