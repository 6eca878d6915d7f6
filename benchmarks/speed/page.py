"""Write the page on speed from what the benchmarks have measured.

    python -m benchmarks.speed.page [--results DIR] > docs/speed.md

Every number comes from the JSON files in `benchmarks/results/speed`; none is typed by hand.  Of what has not been
measured there is only the command that does it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.markdown import table

RESULTS = Path(__file__).parents[1] / "results" / "speed"
COMMANDS = {
    "inference": "python -m benchmarks.speed.inference",
    "scaling": "python -m benchmarks.speed.scaling",
    "simulator": "python -m benchmarks.speed.simulator",
    "ppxf_cost": "python -m benchmarks.speed.ppxf_cost",
    "survey": "python -m benchmarks.speed.survey -n 50000 --workers 2",
    "faults": "python -m benchmarks.speed.faults",
    "gpu": "python -m benchmarks.speed.gpu -n 2048",
}
SURVEYS = {"SDSS": 3e6, "DESI": 3e7, "4MOST and WEAVE": 4e7}
STAGES = {
    "rebinning": "rest-frame grid, resolution, masks",
    "encoding": "projection and network",
    "random_numbers": "random numbers",
    "flow": "flow",
    "physical_parameters": "physical parameters",
    "summaries": "derived quantities and quantiles",
}
# what stays on the processor when the networks are on a GPU
ON_CPU = ("rebinning", "random_numbers", "physical_parameters", "summaries")

Numbers = dict[str, Any]


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    print(page(parser.parse_args().results))


def page(folder: Path = RESULTS) -> str:
    """The whole page, from what the benchmarks have written into a folder."""
    paths = {name: folder / f"{name}.json" for name in COMMANDS}
    results = {name: json.loads(path.read_text()) if path.exists() else None for name, path in paths.items()}
    writers: dict[str, tuple[str, Callable[[Numbers], list[str]]]] = {
        "inference": ("Inference beside other flows", inference),
        "scaling": ("Batches, samples, processes, memory", scaling),
        "ppxf_cost": ("Beside pPXF", ppxf_cost),
        "simulator": ("Simulation", simulator),
        "survey": ("A survey from disk to catalogue", survey),
        "faults": ("Faults", faults),
        "gpu": ("On a GPU", gpu),
    }
    lines = [
        "# Speed",
        "",
        "This page is written by `python -m benchmarks.speed.page` from the files in `benchmarks/results/speed`, which",
        "the commands named below write with `--out benchmarks/results/speed/NAME.json`.",
        "",
    ]
    for name, (title, write) in writers.items():
        lines += [f"## {title}", "", f"    {COMMANDS[name]}", ""]
        numbers = results[name]
        lines += ["Not measured yet."] if numbers is None else [*where(numbers), *write(numbers)]
        lines.append("")
    lines += ["## Large surveys", "", *large_surveys(results["survey"], results["inference"], results["gpu"])]
    return "\n".join(lines)


def where(numbers: Numbers) -> list[str]:
    """The machine."""
    machine = numbers["machine"]
    return [f"Measured on {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}.", ""]


def inference(numbers: Numbers) -> list[str]:
    """Ours, sbi, zuko; the parts of ours."""
    settings, times = numbers["settings"], numbers["ms_a_galaxy"]
    names = {
        "inference": "sfhflow, from spectra to posteriors with verdicts",
        "inference_and_summaries": "sfhflow, and quantiles of all quantities",
        "sbi_maf": "sbi `sample_batched`, MAF of the thesis' size, contexts given",
        "zuko_spline_flow": "zuko autoregressive spline flow, contexts given",
    }
    ours = times["inference"]
    rows = [(names[key], f"{ms:.2f}", f"{ms / ours:.3g}") for key, ms in times.items()]
    lines = [
        f"{settings['samples']} samples of {settings['coordinates']} coordinates for each galaxy, on one core.",
        "",
        *table(("", "ms a galaxy", "relative"), rows),
    ]
    if "held_out_log_prob" in numbers:
        log_prob = numbers["held_out_log_prob"]
        lines += [
            "",
            f"Mean log-probability of unseen simulated galaxies: sfhflow {log_prob['ours']:.2f}, the zuko flow, trained "
            f"for a few minutes only, {log_prob['zuko_spline_flow']:.2f} nats.",
        ]
    stages = numbers["our_stages_ms"]
    rows = [(label, f"{stages[key]:.3f}") for key, label in STAGES.items()]
    return [*lines, "", *table(("part of the work", "ms a galaxy"), rows)]


def scaling(numbers: Numbers) -> list[str]:
    """Rates and memory."""
    lines = [
        f"{numbers['settings']['spectra']} spectra, {numbers['settings']['samples']} samples each unless said otherwise.",
        "",
    ]
    together = numbers["per_s_by_processes"]
    with_summaries = numbers["per_s_by_processes_with_summaries"]
    rows = [(n, f"{rate:.0f}", f"{with_summaries[n]:.0f}") for n, rate in together.items()]
    lines += [*table(("processes", "galaxies a second", "with summaries"), rows), ""]
    lines += [*table(("batch", "galaxies a second"), _rounded(numbers["per_s_by_batch"])), ""]
    lines += [*table(("samples", "galaxies a second"), _rounded(numbers["per_s_by_samples"])), ""]
    return [*lines, *table(("spectra in one call", "peak memory (MB)"), _rounded(numbers["peak_mb_by_spectra"]))]


def _rounded(numbers: Numbers) -> list[tuple[str, str]]:
    return [(key, f"{value:.0f}") for key, value in numbers.items()]


def ppxf_cost(numbers: Numbers) -> list[str]:
    """Cost of a galaxy."""
    names = {
        "ours": "sfhflow, with summaries",
        "ppxf": "pPXF, one fit",
        "ppxf_with_bootstrap": f"pPXF, and {numbers['settings']['bootstraps']} bootstraps",
    }
    times = numbers["ms_a_galaxy"]
    rows = [(names[key], f"{ms:.3g}", f"{ms / times['ours']:.3g}") for key, ms in times.items()]
    return [
        f"pPXF with {numbers['settings']['templates']} templates; only with its bootstrap does it say how uncertain a "
        "history is.",
        "",
        *table(("", "ms a galaxy", "relative"), rows),
    ]


def simulator(numbers: Numbers) -> list[str]:
    """Ratio and equality."""
    rows = [
        ("sfhflow", f"{numbers['ours_ms']:.3g}"),
        ("the thesis' algorithm, in NumPy", f"{numbers['authors_ms']:.3g}"),
    ]
    return [
        f"Noiseless spectra of {numbers['pixels']} pixels from the GP-SFH prior of the thesis, on one core.",
        "",
        *table(("", "ms a galaxy"), rows),
        "",
        f"The ratio is {numbers['ratio']:.0f}; the spectra agree to {numbers['largest_difference']:.1e} at every pixel.",
    ]


def survey(numbers: Numbers) -> list[str]:
    """Rates, memory and sizes."""
    settings = numbers["settings"]
    rows = [
        ("inference alone, spectra in memory", f"{numbers['inference_alone_per_s']:.0f} a second"),
        ("inference and summaries", f"{numbers['with_summaries_per_s']:.0f} a second"),
        ("survey: start, read, infer, summarise, write", f"{numbers['survey_per_s']:.0f} a second"),
        ("share of inference alone", f"{100 * numbers['share_of_inference_alone']:.0f} %"),
        ("peak memory of all processes", f"{numbers['survey_peak_mb']:.0f} MB"),
        ("packed input", f"{numbers['packed_bytes_a_spectrum'] / 1e3:.1f} kB a spectrum"),
        ("results", f"{numbers['results_bytes_a_spectrum']:.0f} bytes a spectrum"),
    ]
    head = f"{settings['spectra']} simulated spectra in packed files, {settings['samples']} samples each, "
    return [f"{head}{settings['workers']} workers.", "", *table(("", ""), rows)]


def faults(numbers: Numbers) -> list[str]:
    """What kills and damage have changed: nothing."""
    killed, files = numbers["killed"], numbers["thousand_files"]
    return [
        f"A run of {numbers['settings']['spectra']} spectra was killed {numbers['runs_killed']} times as a whole and "
        f"lost {numbers['workers_killed']} workers, at random moments (`kill -9`). It ended with {killed['rows']} rows, "
        f"{killed['distinct_rows']} of them distinct, {killed['unfinished_files']} unfinished files, and "
        f"{'the' if numbers['same_hash'] else 'NOT the'} hash of an undisturbed run.",
        "",
        f"A thousand files, one of them damaged, gave {files['rows']} rows, {files['errors']} of them with an error.",
    ]


def gpu(numbers: Numbers) -> list[str]:
    """What a GPU takes over, what it does not, and whether its answers are the same."""
    whole, alone = numbers["galaxies_a_second"], numbers["galaxies_a_second_network_alone"]
    names = {"cpu": f"{numbers['machine']['cores']} cores", "cuda": numbers["settings"]["device"]}
    rows = [(names[key], f"{whole[key]:.0f}", f"{alone[key]:.0f}") for key in names]
    return [
        f"{numbers['settings']['samples']} samples for each galaxy; galaxies a second:",
        "",
        *table(("", "from spectra to posteriors", "encoder and flow alone"), rows),
        "",
        "One process prepares spectra, random numbers and physical parameters on the processor for both, and that is "
        "what takes",
        "the time beside a GPU: only many processes can feed one. The medians of the same galaxy differ by at most "
        f"{numbers['difference_of_medians']['largest']:.0e}",
        "of the half-width of its 68 % interval between the two.",
    ]


def large_surveys(measured: Numbers | None, parts: Numbers | None, on_gpu: Numbers | None) -> list[str]:
    """Time and disk for the large surveys."""
    lines = [
        "What the survey above would take for more spectra, in proportion: start-up counts for nothing there, but reading",
        "plain files may cost more than packed ones. `sfhflow survey INPUT... --out DIR --plan` measures your own; "
        "[surveys](survey.md) tells how to read it.",
        "",
    ]
    if measured is None:
        return [*lines, "Not measured yet.", ""]
    seconds = measured["settings"]["workers"] / measured["survey_per_s"]
    rate = on_gpu["galaxies_a_second_network_alone"]["cuda"] if on_gpu else math.nan
    rows = []
    for name, n in SURVEYS.items():
        hours = n * seconds / 3600
        disk, packed = (n * measured[key] / 1e9 for key in ("results_bytes_a_spectrum", "packed_bytes_a_spectrum"))
        rows.append(
            (
                f"{name}, {n / 1e6:.0f} million",
                f"{hours:.0f}",
                _duration(hours / measured["settings"]["workers"]),
                _duration(hours / 128),
                _duration(n / rate / 3600),
                f"{packed:.0f}",
                f"{disk:.1f}",
            )
        )
    titles = (
        "survey",
        "core hours",
        f"{measured['settings']['workers']} cores",
        "128 cores",
        "one GPU (networks alone)",
        "packed spectra (GB)",
        "results (GB)",
    )
    lines += table(titles, rows)
    lines += [
        "",
        "**The column of one GPU is not what a survey takes there**: it is the time of the networks (`--device cuda`), "
        "if enough",
        "cores feed them.",
    ]
    if parts is not None:
        ms = sum(parts["our_stages_ms"][name] for name in ON_CPU)
        lines.append(
            f"What stays on the processor takes {ms:.2f} ms a galaxy, so that rate needs {rate * ms / 1e3:.0f} cores "
            "beside the GPU, and a disk that delivers as fast."
        )
    return [*lines, ""]


def _duration(hours: float) -> str:
    return f"{hours / 24:.1f} days" if hours > 48 else f"{hours:.1f} hours"


if __name__ == "__main__":
    main()
