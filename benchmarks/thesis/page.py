"""Write `results.json` and the page `docs/thesis.md` from the numbers of the stages.

    python -m benchmarks.thesis.page [--results FILE.json] > docs/thesis.md

Every number of the page comes from the results; the lines of a stage are those of its function `section`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["FIGURES", "PAGE", "RESULTS", "TITLES", "page", "publish"]

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "thesis.md"
FIGURES = ROOT / "docs" / "thesis"

TITLES = {
    "data": "Training set (section 3.1; table 1, figures 5 and 6)",
    "encoder": "The thesis' encoder (section 3.2.1; figures 7 and 8)",
    "latents": "Latent numbers (section 4.1; figures 9 to 11)",
    "posterior": "The thesis' posteriors (section 4.2; figures 12 to 14)",
    "networks_noise": "The thesis' networks with noise",
    "ours": "Our answer to the same task (figure 13)",
    "noise": "With noise, beside the best possible",
    "calibration": "Calibration of our answers (figure 15)",
    "stacks": "Observed stacks (section 4.3; table 2, figures 16 to 18)",
    "timing": "Time (section 4.2)",
}
"""The stages in the order of the page, which is that in which they are run."""

NOT_REPRODUCED = (
    "**What is not as in the thesis.** Its library is interpolated linearly in age at the centres of the bins, "
    "ours in log age with exact integrals; its lowest [M/H] of -2.3 lies outside of the library, ours is -2.27. "
    "It convolved with widths that mixed Angstrom and km/s; here all are km/s. Of its 18 stacks only those found "
    "in the folder of the data are fitted. The thesis' network was not trained in the configuration of the "
    "stacks: there its own numbers stand."
)


def page(results: Mapping[str, Any]) -> str:
    """The whole page."""
    stages, settings = results["stages"], results["settings"]
    library = (
        "the thesis' own library" if settings["thesis_library"] else "the shipped library, not the thesis' own"
    )
    lines = [
        "# The thesis, reproduced",
        "",
        "Every table and figure of sections 3 and 4 of P. Iglesias-Navarro's thesis (published as "
        "Iglesias-Navarro et",
        "al. 2024, A&A 689, A58), beside its own numbers, and our own answer to the same task.",
        "",
        "    python -m benchmarks.thesis",
        "",
        "This page is written by that command; its numbers are in `benchmarks/thesis/results.json`. They are of",
        f"{settings['n_spectra']:,} spectra of {library}, seed {settings['seed']}, "
        f"{'quick sizes, which mean nothing' if settings['quick'] else 'full sizes'}.",
        "",
        NOT_REPRODUCED,
        "",
    ]
    for name, title in TITLES.items():
        lines += [f"## {title}", ""]
        if name in stages:
            section = import_module(f"benchmarks.thesis.{name}").section(stages[name])
            lines += [line.replace("](figures/", "](thesis/") for line in section]
        else:
            lines.append(f"Not measured yet: `python -m benchmarks.thesis {name}`.")
        lines.append("")
    times = ", ".join(f"{name} {stages[name]['seconds'] / 60:.1f}" for name in TITLES if name in stages)
    threads = results["machine"]["threads"]
    run = f"Minutes of the last run of each stage on a shared machine, threads: {threads}; what an earlier run had"
    return "\n".join([*lines, f"{run} trained was not trained again: {times}.", ""])


def publish(
    stages: Mapping[str, Any], settings: Mapping[str, Any], machine: Mapping[str, Any], figures: Path
) -> None:
    """Write results, page and figures to where the documentation has them."""
    results = {"settings": settings, "machine": machine, "stages": stages}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = page(json.loads(RESULTS.read_text()))
    PAGE.write_text(text)
    FIGURES.mkdir(exist_ok=True)
    for path in sorted(figures.glob("*.png")):
        if f"thesis/{path.name}" in text:
            # few colours are enough for figures, and make a third of the size
            Image.open(path).convert("RGB").quantize(128).save(FIGURES / path.name, optimize=True)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    print(page(json.loads(parser.parse_args().results.read_text())), end="")


if __name__ == "__main__":
    main()
