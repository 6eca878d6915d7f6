"""What a model says about real galaxies and star clusters with known answers.

    python -m benchmarks.real DATA [--model NAME_OR_DIR] [--out FILE.json]

DATA is the folder with `stacks`, `galaxies` and `clusters`.  Prints one row a spectrum: formation times as
fractions of the age of the Universe, [M/H], dust, dispersion, and the verdict.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from sfhflow import Model, Posterior, load_model
from sfhflow.errors import SpectrumError
from sfhflow.readers import iter_spectra

# the stacks are of SDSS spectra (resolving power about 1850, sigma 69 km/s), which their files do not say
STACK_RESOLUTION = 1850.0


def posteriors(model: Model, data: Path, *, seed: int = 0) -> list[Posterior]:
    """Fit every spectrum of the folder, in the order of their names; files without any are passed over."""
    files = sorted((data / "stacks").glob("*.dat"))
    files += sorted((data / "clusters").glob("*.fits")) + sorted((data / "galaxies").glob("*.fit*"))
    fitted = []
    for path in files:
        resolution = STACK_RESOLUTION if path.parent.name == "stacks" else None
        try:
            for _, _, spectrum in iter_spectra(path, resolution=resolution):
                if not isinstance(spectrum, SpectrumError):
                    fitted.append(model.infer(spectrum, n_samples=2000, seed=seed))
        except SpectrumError as error:
            print(f"- {error}")
    return fitted


def row(posterior: Posterior) -> dict[str, float | str]:
    """Medians and 68 % half-widths of the main quantities."""
    age = posterior.age_of_universe
    values: dict[str, float | str] = {"name": posterior.spectrum.name, "snr": posterior.spectrum.snr}
    for name in ("t10", "t50", "t90", "t99", "mh", "a_v", "sigma"):
        samples = posterior.columns()[name][0] / (age if name.startswith("t") else 1.0)
        low, median, high = np.quantile(samples, [0.16, 0.5, 0.84])
        values |= {name: float(median), f"{name}_err": float(high - low) / 2}
    return {**values, "age_of_universe": age, "verdict": ", ".join(posterior.verdict.reasons) or "ok"}


def print_table(rows: list[dict[str, float | str]]) -> None:
    """One line a spectrum."""
    print(f"{'name':36s} {'S/N':>5s}   t10/T       t50/T       t90/T       t99/T      [M/H]        A_V     sigma")
    for r in rows:
        times = "  ".join(f"{r[t]:.3f}±{r[t + '_err']:.3f}" for t in ("t10", "t50", "t90", "t99"))
        print(
            f"{str(r['name'])[:36]:36s} {r['snr']:5.0f} {times} {r['mh']:+.2f}±{r['mh_err']:.2f} "
            f"{r['a_v']:.2f}±{r['a_v_err']:.2f} {r['sigma']:4.0f}±{r['sigma_err']:.0f}  {r['verdict']}"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [row(p) for p in posteriors(load_model(arguments.model), arguments.data)]
    print_table(rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
