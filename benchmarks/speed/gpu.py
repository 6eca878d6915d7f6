"""Inference on a GPU beside the same on this machine's processors: how fast, and whether the answers agree.

    python -m benchmarks.speed.gpu [-n 4096] [--samples 1000] [--device cuda] [--model M] [--out FILE.json]

* Galaxies a second from spectra to posteriors (`Model.infer_batches`), on all cores and with the device; random
  numbers, rebinning and physical parameters are made by the processors in both cases.
* Galaxies a second of the network alone, encoder and flow, for observations and random numbers that lie there.
* The largest difference between the medians of the same galaxy, in units of its 68 % half-width.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.speed.measure import best_of, report
from benchmarks.speed.mocks import mock_spectra
from sfhflow import Model, Spectrum, load_model
from sfhflow.memory import keep_freed_memory
from sfhflow.observation import observe
from sfhflow.variates import galaxy_keys, normal_variates

_AGREE = 64
_NETWORK = 512
_FLOW = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=4096, help="spectra")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    given = parser.parse_args()
    keep_freed_memory()
    spectra = list(mock_spectra(load_model(given.model), given.n))
    whole, network, medians = {}, {}, {}
    for device in ("cpu", given.device):
        model = load_model(given.model).to(device)
        few = spectra if device != "cpu" else spectra[: max(_NETWORK, given.n // 8)]
        whole[device] = len(few) / _seconds(lambda model=model, few=few: _infer(model, few, given.samples))
        network[device] = _network_rate(model, spectra[:_NETWORK], given.samples)
        medians[device] = _medians(model, spectra[:_AGREE], given.samples)
    low, middle, high = medians["cpu"]
    apart = 2 * (medians[given.device][1] - middle).abs() / (high - low)
    numbers = {
        "settings": {
            "spectra": given.n,
            "samples": given.samples,
            "model": given.model,
            "device": _name(given.device),
        },
        "galaxies_a_second": whole,
        "galaxies_a_second_network_alone": network,
        "ratios": {
            "whole": whole[given.device] / whole["cpu"],
            "network_alone": network[given.device] / network["cpu"],
        },
        "difference_of_medians": {"largest": float(apart.max()), "median": float(apart.median())},
    }
    report("gpu", numbers, given.out)


def _seconds(work: Callable[[], object]) -> float:
    work()
    return best_of(work)[0]


def _infer(model: Model, spectra: list[Spectrum], n_samples: int) -> int:
    return sum(len(batch) for batch in model.infer_batches(spectra, n_samples=n_samples))


@torch.inference_mode()
def _network_rate(model: Model, spectra: list[Spectrum], n_samples: int) -> float:
    observation = observe(spectra, model.grid, model.library_fwhm).to(model.device)
    encoder, flow = model.network.encoder, model.network.flow
    noise = torch.randn(_FLOW, n_samples, flow.n_noise, device=model.device)

    def work() -> None:
        contexts = encoder(observation)
        for some in contexts.split(_FLOW):
            u = flow.sample(some, noise[: len(some)])
        # the device has answered when this has
        u[-1, -1].cpu()

    return len(spectra) / _seconds(work)


@torch.inference_mode()
def _medians(model: Model, spectra: list[Spectrum], n_samples: int) -> torch.Tensor:
    """16, 50 and 84 % quantiles (3, N, D) of the coordinates."""
    observation = observe(spectra, model.grid, model.library_fwhm)
    noise = normal_variates(galaxy_keys(observation.flux, 0), n_samples, model.network.flow.n_noise)
    contexts = model.network.encoder(observation.to(model.device))
    u = model.network.flow.sample(contexts, noise.to(model.device)).cpu().double()
    return torch.quantile(u, torch.tensor([0.16, 0.5, 0.84], dtype=u.dtype), dim=1)


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
