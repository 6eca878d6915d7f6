"""Amortized inference, refined and not, against nested sampling of the same prior and likelihood.

    python -m benchmarks.exactness [--n 100] [--model NAME_OR_DIR] [--base prior] [--save FILE] [--quick]

Mock galaxies of signal-to-noise ratios 5 to 100 are simulated from the model's own configuration and fitted
three ways: by the model, by the model refined with the true likelihood (`sfhflow.exact`), and by nested sampling
of the same prior and likelihood with nautilus.  By default nautilus looks in a region: the cube is mapped to
logistic distributions twice as wide as the model's unrefined samples, and prior times likelihood over their
density is sampled.  Target and evidence are the same; a mode far outside the model's answer could
be missed.  `--base prior` starts from the prior and takes nothing from the model.

The mocks come from the full simulator.  The likelihood treats what is random beyond the parameters as Gaussian
about one spectrum.  Refined and nested samples share that approximation and unrefined ones do not, so the
divergence of the latter includes it.  Printed are the
Jensen-Shannon divergences of the marginals of the ten headline quantities from those of nested sampling, the
difference in evidence, effective sample sizes, and what each costs.  Every galaxy's result is a file in DIR, and
those that are there are not computed again: interrupt and repeat to resume, also with a larger --n.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow import load_model, refiner
from sfhflow.certificate.trial import NAMES, headline
from sfhflow.exact import LogisticBase, Refiner, WeightedSamples, nested_sampling, sample_target
from sfhflow.exact.refiner import AmortizedProposal
from sfhflow.observation import Observation
from sfhflow.train import stream_seed

SNR_RANGE = (5.0, 100.0)
BUDGET, WANTED = 20_000, 20_000.0
N_PRIOR, N_COMPARED = 20_000, 10_000
# nautilus: live points and effective samples, and the same for --quick
LIVE, EFFECTIVE = 1000, 4000
# width of the density in which nautilus looks, relative to the model's samples and to the prior
INFLATION = {"model": 2.0, "prior": 1.3}
QUICK_LIVE, QUICK_EFFECTIVE = 300, 1000
BINS = 25


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence (nats) of two samples, in bins that hold equal shares of the second.

    Two samples of n points from one distribution have about (BINS - 1) / (4 n).
    """
    edges = np.quantile(q, np.linspace(0, 1, BINS + 1)[1:-1])
    a, b = (np.bincount(np.searchsorted(edges, x), minlength=BINS) / len(x) for x in (p, q))
    middle = 0.5 * (a + b)
    return 0.5 * sum(float(np.sum(x[x > 0] * np.log(x[x > 0] / middle[x > 0]))) for x in (a, b))


def signal_to_noise(observation: Observation) -> float:
    """Median signal-to-noise ratio per observed pixel of a batch of one."""
    good = observation.ivar[0] > 0
    return float((observation.flux[0] * observation.ivar[0].sqrt())[good].median())


def quantities(u: Tensor, age: float, fit: Refiner) -> NDArray[np.float64]:
    """The ten headline quantities (N, 10)."""
    ages = torch.full((len(u),), age, dtype=torch.float64)
    galaxy = fit.model.parameters.to_physical(u, ages)
    return headline(galaxy, ages)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def one(
    observation: Observation, fit: Refiner, *, seed: int, live: int, effective: int, base: str
) -> dict[str, Any]:
    """Fit one galaxy all ways; without nested sampling if `live` is 0."""
    age = float(observation.age_of_universe[0])
    generator = torch.Generator().manual_seed(seed)
    proposal, encoding = timed(lambda: AmortizedProposal(fit.model, observation))
    amortized, sampling = timed(lambda: proposal.sample(N_COMPARED, generator))
    like, building = timed(lambda: fit.likelihood(observation, seed=seed))

    def log_target(u: Tensor) -> Tensor:
        return fit.log_posterior(u, like)

    refined: WeightedSamples
    refined, weighting = timed(
        lambda: sample_target(log_target, proposal, budget=BUDGET, wanted=WANTED, generator=generator)
    )
    result = {
        "snr": signal_to_noise(observation),
        "effective": refined.effective,
        "efficiency": refined.efficiency,
        "amortized_efficiency": refined.first_efficiency,
        "log_evidence": refined.log_evidence,
        "log_evidence_error": refined.log_evidence_error,
        "seconds_amortized": encoding + sampling * 1000 / N_COMPARED,
        "seconds_refined": building + weighting,
    }
    mine = quantities(refined.resample(N_COMPARED, generator), age, fit)
    direct = quantities(amortized, age, fit)
    result["jsd_amortized_refined"] = [divergence(a, b) for a, b in zip(direct.T, mine.T, strict=True)]
    if live:
        around = amortized
        if base == "prior":
            around = fit.model.parameters.to_unbounded(*fit.simulator.prior.sample(N_PRIOR, generator))
        region = LogisticBase.around(around, inflation=INFLATION[base])
        reference, seconds = timed(
            lambda: nested_sampling(log_target, region, seed=seed, n_live=live, n_effective=effective)
        )
        truth = quantities(reference.resample(N_COMPARED, generator), age, fit)
        result |= {
            "nested_base": base,
            "nested_log_evidence": reference.log_evidence,
            "nested_effective": reference.effective,
            "nested_calls": reference.n_evaluations,
            "seconds_nested": seconds + building,
            "jsd_refined": [divergence(a, b) for a, b in zip(mine.T, truth.T, strict=True)],
            "jsd_amortized": [divergence(a, b) for a, b in zip(direct.T, truth.T, strict=True)],
        }
    return result


def run(
    fit: Refiner, n: int, seed: int, folder: Path, *, live: int, effective: int, base: str
) -> list[dict[str, Any]]:
    """Fit `n` galaxies, or read what is there.  Results of other weights or another base do not mix."""
    bright = replace(fit.simulator, noise=replace(fit.simulator.noise, snr_range=SNR_RANGE))
    folder = folder / f"{fingerprint(fit)}-{base}-{live}"
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for i in range(n):
        path = folder / f"{i:04d}.json"
        if not path.exists():
            observation = bright.sample(1, seed=stream_seed(seed, "test", 1_000_000 + i)).observation
            result = one(observation, fit, seed=i, live=live, effective=effective, base=base)
            path.with_suffix(".part").write_text(json.dumps(result, indent=1) + "\n")
            path.with_suffix(".part").rename(path)
            print(f"galaxy {i}: S/N {result['snr']:.0f}, {result['effective']:.0f} effective", flush=True)
        results.append(json.loads(path.read_text()))
    return results


def fingerprint(fit: Refiner) -> str:
    """Eight hexadecimal digits that tell one model's weights from another's."""
    digest = hashlib.sha256()
    for tensor in fit.model.network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def report(results: list[dict[str, Any]]) -> None:
    """Print the summary."""

    def column(name: str) -> NDArray[np.float64]:
        return np.array([result[name] for result in results if name in result])

    effective, compared = column("effective"), column("jsd_refined")
    print(f"{len(results)} galaxies of S/N {column('snr').min():.0f} to {column('snr').max():.0f} per pixel")
    print(f"efficiency of the amortized samples: median {100 * np.median(column('amortized_efficiency')):.1f} %")
    print(f"efficiency of all samples, adapted:  median {100 * np.median(column('efficiency')):.1f} %")
    print(
        f"effective samples of at most {BUDGET}: median {np.median(effective):.0f}, "
        f"at least 200 in {100 * np.mean(effective >= 200):.0f} % of galaxies"
    )
    row("JSD amortized - refined (nats)", column("jsd_amortized_refined"))
    print(
        f"seconds a galaxy, median: amortized (1000 samples) {np.median(column('seconds_amortized')):.4f}, "
        f"refined {np.median(column('seconds_refined')):.1f}"
    )
    if not len(compared):
        return
    print(f"\n{len(compared)} of them by nested sampling:")
    row("JSD refined - nested (nats)", compared)
    row("JSD amortized - nested (nats)", column("jsd_amortized"))
    print(
        "per quantity, median JSD refined - nested: "
        + ", ".join(f"{name} {value:.4f}" for name, value in zip(NAMES, np.median(compared, 0), strict=True))
    )
    with_nested = [result for result in results if "nested_log_evidence" in result]
    difference = np.array([r["log_evidence"] - r["nested_log_evidence"] for r in with_nested])
    rms = np.sqrt(np.mean(difference**2))
    print(
        f"difference in ln evidence: median {np.median(difference):+.3f}, rms {rms:.3f}, "
        f"within 0.3 in {100 * np.mean(np.abs(difference) < 0.3):.0f} %"
    )
    seconds = np.array([r["seconds_nested"] / r["seconds_refined"] for r in with_nested])
    print(
        f"nested sampling: median {np.median(column('nested_calls')):.0f} likelihoods, "
        f"{np.median(column('seconds_nested')):.0f} s; {np.median(seconds):.0f} times as long as refining"
    )


def row(label: str, values: NDArray[np.float64]) -> None:
    """Median and 95th percentile over galaxies and quantities."""
    print(f"{label}: median {np.median(values):.4f}, 95th percentile {np.quantile(values, 0.95):.4f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="galaxies")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, default=Path("runs/exactness"))
    parser.add_argument("--no-nested", action="store_true", help="refine only")
    parser.add_argument("--quick", action="store_true", help="coarse nested sampling")
    parser.add_argument("--base", choices=list(INFLATION), default="model", help="where nautilus looks")
    parser.add_argument("--save", type=Path, help="write all results to this JSON file")
    arguments = parser.parse_args()
    fit = refiner(load_model(arguments.model))
    live, effective = (QUICK_LIVE, QUICK_EFFECTIVE) if arguments.quick else (LIVE, EFFECTIVE)
    seed = fit.model.card["config"]["plan"]["seed"]
    live = 0 if arguments.no_nested else live
    results = run(fit, arguments.n, seed, arguments.out, live=live, effective=effective, base=arguments.base)
    report(results)
    if arguments.save:
        settings = {"weights": fingerprint(fit), "base": arguments.base, "live": live, "budget": BUDGET}
        arguments.save.write_text(json.dumps(settings | {"galaxies": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
