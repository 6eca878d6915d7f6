"""Do answers depend on what should not matter?  Other instruments, calibration errors, media, junk, libraries.

    python -m benchmarks.robustness [--model NAME_OR_DIR] [--quick] [--data DATA] [--ablation MODEL_DIR]
                                    [--out benchmarks/results/robustness.json]

Shifts of medians are in units of sigma, half the width of the 68 % interval; quantities are t10 ... t90 over the
age of the Universe and [M/H].  The tests:

instruments   The same galaxies, at the same signal-to-noise ratio per Angstrom (log-uniform 10 to 100), through
              SDSS, BOSS, DESI and MaNGA (`benchmarks.mock_surveys`), with the same noise where they overlap.  All
              six pairs are compared, with sigma the mean of the two.  "Common window" hides what is outside
              the range that all four see; "other noise" is SDSS twice with independent noise, for comparison.
calibration   A smooth factor (random Legendre series to third order) that departs from 1 by 5 % at most.  The same
              with 5 % rms is reported, too.
air           A spectrum with vacuum wavelengths, and the same with those converted to air, by another formula than
              that of the package (Ciddor 1996, Appl. Opt. 35, 1566), and told so.  "Misread" is told wrongly.
junk          NaN, 0 and 1e9 in masked pixels: samples must agree to the last bit.
library       Mocks from the SSPs of DATA/ssp/miuscat_basti_ku1.30, with no artificial template mismatch: the
              difference of the libraries is the mismatch.  A model trained without mismatch, which `--ablation`
              names, is shown beside.
sharpness     The same galaxies and noise patterns at rising signal-to-noise ratios: median widths must fall.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.markdown import table
from benchmarks.mock_surveys import SURVEYS, Galaxies
from sfhflow import Model, Spectrum, load_model
from sfhflow.certificate import NAMES, headline
from sfhflow.certificate.trial import signal_to_noise
from sfhflow.config import Config
from sfhflow.diagnostics import coverage, ranks
from sfhflow.instrument import legendre
from sfhflow.mismatch import TemplateMismatch
from sfhflow.observation import observe
from sfhflow.simulator import Simulator
from sfhflow.ssp import open_library
from sfhflow.train import stream_seed

N_SAMPLES = 2000
# medians of two sets of so many samples differ by 0.0125 sigma by chance
MANY_SAMPLES, N_TWINS = 20_000, 100
# ranks need fewer
N_RANKED = 511
CHUNK = 32
OTHER_LIBRARY = Path("ssp") / "miuscat_basti_ku1.30"
SNR_STEPS = (3.0, 10.0, 30.0, 100.0, 300.0)
# places in the "test" stream of seeds, beyond those of certificates
_GALAXIES, _MOCKS = 60_000_000, 61_000_000

Result = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """Quantiles of the headline quantities of G galaxies, each of shape (G, 10)."""

    low: np.ndarray
    median: np.ndarray
    high: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """Half the width of the 68 % interval."""
        return (self.high - self.low) / 2


def sampled(model: Model, spectra: list[Spectrum], n_samples: int) -> Iterator[np.ndarray]:
    """Posterior samples (n_samples, 10) of each spectrum; its place in the list decides about the seed."""
    for start in range(0, len(spectra), CHUNK):
        observation = observe(spectra[start : start + CHUNK], model.grid, model.library_fwhm)
        drawn = model.sample(observation, n_samples=n_samples, seed=start)
        for galaxy, age in zip(drawn, observation.age_of_universe, strict=True):
            yield headline(galaxy, age.double().expand(n_samples))


def answer(model: Model, spectra: list[Spectrum], n_samples: int | None = None) -> Answers:
    """Infer spectra."""
    drawn = sampled(model, spectra, n_samples or N_SAMPLES)
    quantiles = [np.quantile(values, [0.16, 0.5, 0.84], axis=0) for values in drawn]
    return Answers(*np.moveaxis(np.array(quantiles), 1, 0))


def shift(one: Answers, other: Answers) -> np.ndarray:
    """Difference of the medians in units of the mean sigma, (G, 10)."""
    return (one.median - other.median) / (0.5 * (one.sigma + other.sigma))


def by_name(values: np.ndarray) -> dict[str, float]:
    """Values (10,) with the names of their quantities."""
    return {name: round(float(value), 4) for name, value in zip(NAMES, values, strict=True)}


def verdict(statement: str, value: float, limit: float, *, least: bool, **details: object) -> Result:
    """One result; `least` tells that the value must be at least the limit, not at most."""
    passed = value >= limit if least else value <= limit
    return {"statement": statement, "value": round(value, 5), "limit": limit, "passed": bool(passed), **details}


def instruments(model: Model, galaxies: Galaxies, rng: np.random.Generator) -> dict[str, Result]:
    """Agreement of four instruments."""
    snr = 10 ** rng.uniform(1, 2, len(galaxies))
    window = (max(s.low for s in SURVEYS), min(s.high for s in SURVEYS))
    results = {}
    for key, limits, words in (
        ("instruments", None, "SDSS, BOSS, DESI and MaNGA agree within 0.3 sigma"),
        ("instruments_common_window", window, "the same in the window that all share"),
    ):
        answers = {s.name: answer(model, galaxies.observe(s, snr, window=limits)) for s in SURVEYS}
        pairs = {f"{a}-{b}": np.abs(shift(answers[a], answers[b])) for a, b in combinations(answers, 2)}
        close = np.mean([values < 0.3 for values in pairs.values()], axis=(0, 1))
        by_pair = {pair: round(float(np.mean(values < 0.3)), 4) for pair, values in pairs.items()}
        rms = {pair: round(float(np.sqrt(np.mean(values**2))), 4) for pair, values in pairs.items()}
        details = {"quantities": by_name(close), "pairs": by_pair, "rms_shift": rms}
        results[key] = verdict(f"{words}: share", float(close.mean()), 0.95, least=True, **details)
    twice = [answer(model, galaxies.observe(SURVEYS[0], snr, again=k)) for k in (0, 1)]
    apart = np.abs(shift(*twice))
    results["instruments"]["other_noise"] = round(float(np.mean(apart < 0.3)), 4)
    results["instruments"]["other_noise_rms_shift"] = round(float(np.sqrt(np.mean(apart**2))), 4)
    return results


def warped(spectrum: Spectrum, size: float, kind: str, rng: np.random.Generator) -> Spectrum:
    """Multiply a spectrum by a smooth factor over its used pixels, of a largest (`max`) or `rms` size."""
    used = ~spectrum.mask
    x = legendre(3, int(used.sum()), dtype=torch.float64).numpy()
    curve = rng.normal(size=3) @ (x * np.sqrt(2 * np.arange(1, 4)[:, None] + 1))
    curve -= curve.mean()
    curve *= size / (np.abs(curve).max() if kind == "max" else curve.std())
    factor = np.ones(len(spectrum))
    factor[used] = np.exp(curve)
    return replace(spectrum, flux=spectrum.flux * factor, ivar=spectrum.ivar / factor**2)


def calibration(model: Model, galaxies: Galaxies, rng: np.random.Generator) -> dict[str, Result]:
    """Shift by a smooth calibration error."""
    snr = 10 ** rng.uniform(1, 2, len(galaxies))
    spectra = galaxies.observe(SURVEYS[0], snr)
    plain = answer(model, spectra)
    results = {}
    for kind, words in (("max", "at most"), ("rms", "rms")):
        moved = shift(answer(model, [warped(s, 0.05, kind, rng) for s in spectra]), plain)
        key = "calibration" if kind == "max" else "calibration_rms"
        results[key] = verdict(
            f"a smooth calibration error of 5 % ({words}) moves medians: mean in sigma",
            float(np.abs(moved).mean()),
            0.2,
            least=False,
            quantities=by_name(np.abs(moved).mean(0)),
            mean_signed=by_name(moved.mean(0)),
        )
    return results


def air(model: Model, galaxies: Galaxies) -> dict[str, Result]:
    """Vacuum and air twins."""
    spectra = galaxies.observe(SURVEYS[0], 50.0)[:N_TWINS]
    plain = answer(model, spectra, MANY_SAMPLES)
    twins = [replace(s, wavelength=ciddor_air(s.wavelength), medium="air") for s in spectra]
    moved = np.abs(shift(answer(model, twins, MANY_SAMPLES), plain))
    wrong = [replace(s, medium="air") for s in spectra]
    misread = np.abs(shift(answer(model, wrong, MANY_SAMPLES), plain))
    details = {"quantities": by_name(moved.max(0)), "misread": round(float(misread.mean()), 4)}
    statement = "a spectrum in vacuum and its air twin: 95 % of shifts below, in sigma"
    return {"air": verdict(statement, float(np.quantile(moved, 0.95)), 0.05, least=False, **details)}


def ciddor_air(vacuum: np.ndarray) -> np.ndarray:
    """Wavelengths in air (Angstrom) of those in vacuum."""
    s2 = (1e4 / vacuum) ** 2
    return vacuum / (1 + 5.792105e-2 / (238.0185 - s2) + 1.67917e-3 / (57.362 - s2))


def junk(model: Model, galaxies: Galaxies, rng: np.random.Generator) -> dict[str, Result]:
    """Values in masked pixels."""
    spectra = galaxies.observe(SURVEYS[0], 30.0)[:CHUNK]
    masks = [s.mask | (rng.random(len(s)) < 0.1) for s in spectra]
    samples = []
    for value in (np.nan, 0.0, 1e9):
        filled = [
            replace(s, flux=np.where(m, value, s.flux), ivar=np.where(m, value, s.ivar), mask=m)
            for s, m in zip(spectra, masks, strict=True)
        ]
        samples.append(np.array(list(sampled(model, filled, N_SAMPLES))))
    different = sum(int(np.count_nonzero(samples[0] != other)) for other in samples[1:])
    return {"junk": verdict("NaN, 0 or 1e9 in masked pixels: samples that differ", different, 0, least=False)}


def library(model: Model, simulator: Simulator, n: int, seed: int) -> Result:
    """Coverage of a model on the mocks of a simulator, overall and in bins of signal-to-noise ratio."""
    pixel = torch.as_tensor(simulator.grid.wavelength * simulator.grid.step, dtype=torch.float32)
    rank, snr = [], []
    for number in range(-(-n // CHUNK)):
        batch = simulator.sample(CHUNK, seed=stream_seed(seed, "test", _MOCKS + 2 * number))
        age = batch.observation.age_of_universe.double()
        drawn = model.sample(
            batch.observation, n_samples=N_RANKED, seed=stream_seed(seed, "test", _MOCKS + 2 * number + 1)
        )
        samples = [headline(galaxy, a.expand(N_RANKED)) for galaxy, a in zip(drawn, age, strict=True)]
        rank.append(ranks(np.array(samples), headline(batch.galaxy, age), seed=number))
        snr.append(signal_to_noise(batch.observation, pixel).numpy())
    ranked, ratio = np.concatenate(rank), np.concatenate(snr)
    bins = {}
    for low, high in pairwise((1.0, *SNR_STEPS)):
        inside = ranked[(ratio >= low) & (ratio < high)]
        if len(inside):
            bins[f"{low:g} to {high:g}"] = {"n": len(inside), **by_name(coverage(inside, [0.68])[0])}
    return {"n": len(ranked), "quantities": by_name(coverage(ranked, [0.68])[0]), "bins": bins}


def libraries(
    model: Model, simulator: Simulator, data: Path | None, ablation: Model | None, n: int, seed: int
) -> dict[str, Result]:
    """Coverage on mocks of the other library."""
    folder = data / OTHER_LIBRARY if data else None
    if folder is None or not folder.is_dir():
        return {"library": {"skipped": f"no {OTHER_LIBRARY} in the folder that --data names"}}
    none = TemplateMismatch(amplitude_range=(1e-9, 1e-9))
    other = replace(simulator, library=open_library(folder), mismatch=none)
    found = library(model, other, n, seed)
    same = library(model, replace(simulator, mismatch=none), n, seed)
    beside: Result = {"same_library": same["quantities"]}
    if ablation:
        beside["ablation"] = library(ablation, other, n, seed)
    lowest = min(found["quantities"].values())
    beside["mean"] = round(float(np.mean(list(found["quantities"].values()))), 4)
    statement = "68 % intervals on mocks of the other SSP library: lowest coverage of a quantity"
    return {"library": verdict(statement, lowest, 0.6, least=True, **found, **beside)}


def sharpness(model: Model, galaxies: Galaxies) -> dict[str, Result]:
    """Widths at rising signal-to-noise ratios."""
    width = np.array(
        [np.median(2 * answer(model, galaxies.observe(SURVEYS[0], snr)).sigma, axis=0) for snr in SNR_STEPS]
    )
    ratio = width[1:] / width[:-1]
    details = {"widths": {f"{snr:g}": by_name(row) for snr, row in zip(SNR_STEPS, width, strict=True)}}
    statement = "median widths fall with S/N: largest ratio of neighbours"
    return {"sharpness": verdict(statement, float(ratio.max()), 1.0, least=False, **details)}


def markdown(results: dict[str, Any]) -> list[str]:
    """Rows of all tests, for the terminal and the model card."""
    rows = []
    for result in results["tests"].values():
        if "skipped" in result:
            rows.append(("other SSP library", "", "", f"skipped: {result['skipped']}"))
            continue
        outcome = "pass" if result["passed"] else "FAIL"
        rows.append((result["statement"], f"{result['value']:.3g}", f"{result['limit']:g}", outcome))
    lines = table(("test", "found", "limit", "outcome"), rows, "llll")
    first = results["tests"]["instruments"]
    lines += [
        "",
        f"{results['galaxies']} galaxies of S/N 10 to 100 per Angstrom, SDSS where no instrument is named. For "
        "comparison: SDSS twice, with independent noise, agrees within 0.3 sigma for "
        f"{100 * first['other_noise']:.0f} % (rms shift {first['other_noise_rms_shift']:.2f} sigma);",
        "a spectrum in vacuum read as one in air moves its medians by "
        f"{results['tests']['air']['misread']:.2f} sigma on average.",
    ]
    return lines + _library_table(results["tests"]["library"])


def _library_table(found: Result) -> list[str]:
    """Rows of the coverage of the 68 % interval, for each library, bin and model."""
    if "skipped" in found:
        return []
    rows = {"mocks of the other library": found["quantities"]}
    rows |= {f"S/N {label} ({row['n']})": row for label, row in found["bins"].items()}
    rows["mocks of its own library"] = found["same_library"]
    if "ablation" in found:
        rows["model trained without mismatch, other library"] = found["ablation"]["quantities"]
    lines = [
        "",
        f"Coverage of the 68 % interval in per cent, {found['n']} galaxies without artificial mismatch:",
        "",
    ]
    cells = [(label, *(f"{100 * row[name]:.1f}" for name in NAMES)) for label, row in rows.items()]
    return lines + table(("", *NAMES), cells, "l" * (len(NAMES) + 1))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--quick", action="store_true", help="fewer galaxies")
    parser.add_argument("--data", type=Path, help="folder that holds ssp/miuscat_basti_ku1.30")
    parser.add_argument("--ablation", help="a model trained without template mismatch")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    config = Config.model_validate(model.card["config"])
    simulator, seed = config.simulator(), config.plan.seed
    n, n_mocks = (64, 512) if arguments.quick else (500, 4096)
    rng = np.random.default_rng(stream_seed(seed, "test", _GALAXIES))
    galaxies = Galaxies(simulator, n, seed=stream_seed(seed, "test", _GALAXIES))
    ablation = load_model(arguments.ablation) if arguments.ablation else None
    steps: list[Callable[[], dict[str, Result]]] = [
        lambda: instruments(model, galaxies, rng),
        lambda: calibration(model, galaxies, rng),
        lambda: air(model, galaxies),
        lambda: junk(model, galaxies, rng),
        lambda: libraries(model, simulator, arguments.data, ablation, n_mocks, seed),
        lambda: sharpness(model, galaxies),
    ]
    results: dict[str, Any] = {"model": model.name, "weights": model.digest(), "galaxies": n, "tests": {}}
    for step in steps:
        results["tests"] |= step()
    print("\n".join(markdown(results)))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
