"""Write the model card: what the shipped model is, where it holds, and how well it does.

    sfhflow verify default --out certificate
    cp certificate/certificate.json src/sfhflow/models/default/
    python -m benchmarks.robustness --data DATA --out benchmarks/results/robustness.json
    python -m benchmarks.first_default --out benchmarks/results/first_default.json
    python -m benchmarks.real DATA --out benchmarks/results/real.json
    python -m benchmarks.model_card > docs/model-card.md

Every number comes from the model's `card.json` and `certificate.json` or from the three result files; none is typed
by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.robustness import markdown as robustness_table
from sfhflow import Model, load_model
from sfhflow.certificate import certificate_sections
from sfhflow.model import shipped_models

RESULTS = Path(__file__).parent / "results"


def provenance(model: Model) -> list[str]:
    """Training, library and versions."""
    training, library, config = (model.card[key] for key in ("training", "library", "config"))
    plan = training["plan"]
    million = training["steps"] * plan["batch_size"] / plan["reuse"] / 1e6
    versions = ", ".join(f"{name} {version}" for name, version in model.card["versions"].items())
    return [
        f"# Model card: `{model.name}`",
        "",
        "This page is written by `python -m benchmarks.model_card` from the results that it names.",
        "",
        "| | |",
        "|---|---|",
        f"| SSP library | {library['name']}: {config['library']} |",
        f"| training | {training['steps']} steps of {plan['batch_size']} ({million:.1f} million "
        f"simulations, each used {plan['reuse']} times), {training['minutes']:.0f} minutes "
        f"({training.get('device', 'cpu')}) |",
        f"| held-out log-probability | {training['validation_log_prob']:.2f} nats in the unbounded coordinates |",
        f"| versions | {versions} |",
        f"| licence of the weights | {model.card['licence']} |",
        "| command | `sfhflow train configs/default.toml --out MODEL_DIR` |",
        "",
    ]


def validity(model: Model) -> list[str]:
    """Range of validity and prior."""
    config, parameters = model.card["config"], model.parameters
    low, high = config["noise"]["snr_range"]
    instrument, mismatch = config["instrument"], config["mismatch"]
    low_mismatch, high_mismatch = mismatch["amplitude_range"]
    return [
        "## Where it holds",
        "",
        f"- Rest-frame wavelengths {model.grid.low:.0f} to {model.grid.high:.0f} Angstrom; any part of at least about "
        f"{100 * config['noise']['min_window']:.0f} % of them. Redshift 0 to {config['prior']['max_redshift']:g}.",
        f"- Signal-to-noise ratio {low:g} to {high:g} per pixel of 69 km/s.",
        f"- [M/H] from {parameters.metallicity.low:g} to {parameters.metallicity.high:g}, A_V from 0 to "
        f"{parameters.a_v.high:g} mag, velocity dispersion from {parameters.sigma_kms.low:g} to "
        f"{parameters.sigma_kms.high:g} km/s.",
        f"- Instrumental sigma up to {instrument['sigma_range_kms'][1]:g} km/s; sharper data are smoothed "
        f"to the library's {model.library_fwhm:.2f} Angstrom (FWHM).",
        "",
        "**Prior.** Star formation histories: the mixture of `sfhflow.sfh.default_mixture` (delayed tau, log-normal,",
        "double power law, top hat, Gaussian process and Dirichlet histories, with quenching, bursts and",
        "rejuvenation), about flat in t50. [M/H] uniform, velocity dispersion log-uniform, A_V / 3 ~ Beta(1, 3).",
        "",
        f"**Marginalised.** Flux calibration errors up to {100 * instrument['calibration_range'][1]:g} % rms, steps of "
        f"{100 * instrument['arm_step']:g} % rms between arms, template mismatch",
        f"of {100 * low_mismatch:g} to {100 * high_mismatch:g} % rms, zero points of the library's ages "
        f"({mismatch['age_zero_point']:g} dex rms) and [M/H] ({mismatch['metallicity_zero_point']:g}),",
        "the slope of the attenuation law, redshift errors "
        f"within {instrument['max_shift_kms']:g} km/s, errors of",
        f"{100 * instrument['resolution_error']:g} % in the resolution, weak emission lines.",
        "",
    ]


def shipped_certificate(model: Model) -> dict[str, Any]:
    """The certificate that ships with the model."""
    certificate: dict[str, Any] = json.loads((shipped_models()[model.name] / "certificate.json").read_text())
    if certificate["provenance"]["weights"] != model.digest():
        raise SystemExit("the certificate is of other weights: run `sfhflow verify` and copy its certificate.json")
    return certificate


def known_failures(certificate: dict[str, Any], tests: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """What the model cannot do by construction, and every criterion below that it misses."""
    missed = [
        f"- {c['statement']}: {c['value']:.3g} for a limit of {c['limit']:g} ({c['where'] or 'all galaxies'})."
        for c in certificate["criteria"]
        if c["outcome"] == "fail"
    ]
    missed += [
        f"- {t['statement']}: {t['value']:.3g} for a limit of {t['limit']:g}."
        for t in tests.values()
        if not t.get("passed", True)
    ]
    flagged = [f"{r['name']} ({r['verdict']})" for r in rows if r["verdict"] != "ok"]
    return [
        "## Known failures",
        "",
        "One metallicity and a Kroupa IMF for all stars of a galaxy; abundance ratios as in the solar neighbourhood;",
        "[M/H] above +0.3 is extrapolated in the isochrones; stars younger than 30 Myr look 30 Myr old, so extreme",
        "starbursts cannot be fitted (and are refused); recent star formation below about 1 % of the mass is represented",
        "coarsely; no active nuclei.",
        "",
        "Criteria of the sections below that the model misses:" if missed else "No criterion below is missed.",
        "",
        *missed,
        "",
        f"Real spectra below that are not accepted without reserve: {', '.join(flagged) or 'none'}.",
        "",
    ]


def calibration(certificate: dict[str, Any]) -> list[str]:
    """Sections of the certificate."""
    return ["## Calibration on fresh simulations", "", *certificate_sections(certificate)]


def robustness(results: dict[str, Any]) -> list[str]:
    """Section of the robustness of the answers."""
    return [
        "## Robustness",
        "",
        "Printed by `python -m benchmarks.robustness`.",
        "",
        *robustness_table(results),
        "",
    ]


def beside_first(record: dict[str, Any]) -> list[str]:
    """Table of the held-out log-probability beside that of the first model."""
    lines = [
        "## Beside the first model",
        "",
        "Printed by `python -m benchmarks.first_default`: mean log-probability of the truth, in nats, of this model and of",
        f"the first one that was shipped (revision `{record['revision']}`), for the same galaxies.",
        "",
    ]
    names = {"present": "this model's simulator", "first": "the first model's simulator"}
    cells = [
        (
            names[name],
            label.removeprefix("S/N "),
            str(row["n"]),
            f"{row['first']:.2f}",
            f"{row['present']:.2f}",
            f"{row['gain']:+.2f} ± {row['gain_error']:.2f}",
        )
        for name, rows in record["simulations"].items()
        for label, row in rows.items()
    ]
    lines += table(("galaxies of", "S/N", "n", "first", "this", "gain"), cells, "llllll")
    return [
        *lines,
        "",
        "Each wins on its own simulations. The first model's histories came from families of two or three parameters,",
        "so 13 times lay on thin sheets, which it learned; its density is high for such galaxies and next to nothing for",
        "any other.",
        "",
    ]


def real(rows: list[dict[str, Any]]) -> list[str]:
    """Table of the real spectra."""
    lines = [
        "## Real spectra",
        "",
        "Printed by `python -m benchmarks.real DATA`; T is the age of the Universe.",
        "",
    ]
    cells = [
        (
            r["name"],
            f"{r['snr']:.0f}",
            f"{r['t50']:.3f} ± {r['t50_err']:.3f}",
            f"{r['t90']:.3f} ± {r['t90_err']:.3f}",
            f"{r['mh']:+.2f} ± {r['mh_err']:.2f}",
            f"{r['sigma']:.0f} ± {r['sigma_err']:.0f}",
            r["verdict"],
        )
        for r in rows
    ]
    return lines + table(("spectrum", "S/N", "t50/T", "t90/T", "[M/H]", "sigma [km/s]", "verdict"), cells, "l" * 7)


def main() -> None:
    """Print the page."""
    model = load_model("default")
    results = {
        name: json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("robustness", "first_default", "real")
    }
    certificate = shipped_certificate(model)
    sections = provenance(model) + validity(model)
    sections += known_failures(certificate, results["robustness"]["tests"], results["real"])
    sections += calibration(certificate) + robustness(results["robustness"])
    sections += beside_first(results["first_default"]) + real(results["real"])
    print("\n".join(sections))


if __name__ == "__main__":
    main()
