"""Stage: our own answer to the thesis' task, noise-free (items of section 4.2, and 4.3 for the stacks).

Trained on galaxies of any [M/H], it is tested on the thesis' 15 values and on values never trained on, over the
full range and in the configuration of the stacks.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from safetensors.torch import load_file, save_file

from benchmarks.markdown import table
from benchmarks.thesis.answer import Answer, Plan, train
from benchmarks.thesis.context import Context
from benchmarks.thesis.library import Window
from benchmarks.thesis.measure import losses_figure, measure, scatter_figure, thesis_numbers

__all__ = ["CASES", "run", "section", "trained"]

CASES: dict[str, tuple[Window, float]] = {
    "full": ("full", 0.0),
    "stack": ("stack", 0.0),
    "stack100": ("stack", 1 / 100),
    "snr100": ("full", 1 / 100),
    "snr30": ("full", 1 / 30),
    "snr10": ("full", 1 / 10),
}
"""Window and noise of every answer that is trained."""

# what is asked of the noise-free answers: R2 of t10, t50, t90 and [M/H]
ASKED = {"full": (0.990, 0.993, 0.996, 0.999), "stack": (0.980, 0.990, 0.995, 0.999)}
SHOWN = ("t10", "t50", "t90", "mh")
_TITLES = {"full": "3540.5-7409.6 Å", "stack": "4023-5500 Å at 320 km/s"}


def plan(context: Context, case: str) -> Plan:
    """How the answer of a case is trained."""
    noise = CASES[case][1]
    if noise == 0:
        return Plan(regression=context.size(14, 4, 2), density=context.size(12, 3, 1))
    # with noise, fewer components differ by more than it, and there is less to learn
    epochs = {"regression": context.size(18, 2, 1), "density": context.size(18, 2, 1)}
    return Plan(noise=noise, components=80, batch=512, inversion=False, **epochs)


def trained(context: Context, case: str) -> tuple[Answer, dict[str, Any]]:
    """Train the answer of a case on continuous [M/H], unless it is in the run folder; it and its record."""
    data, wanted = context.dataset("continuous", CASES[case][0]), plan(context, case)
    weights, log = (context.file(f"ours-{case}.{kind}") for kind in ("safetensors", "losses.json"))
    if not log.exists() or json.loads(log.read_text())["plan"] != asdict(wanted):
        start = time.perf_counter(), time.process_time()
        answer, history = train(data, wanted, seed=context.seed)
        record = {
            "plan": asdict(wanted),
            "minutes": round((time.perf_counter() - start[0]) / 60, 2),
            "cpu_minutes": round((time.process_time() - start[1]) / 60, 2),
            "losses": history,
        }
        save_file(answer.state_dict(), weights)
        log.write_text(json.dumps(record) + "\n")
    answer = Answer(data, wanted)
    answer.load_state_dict(load_file(weights))
    return answer.eval(), json.loads(log.read_text())


def run(context: Context) -> dict[str, Any]:
    """Train, test, draw."""
    result: dict[str, Any] = {"thesis": thesis_numbers(context.data)}
    for case in ("full", "stack"):
        answer, record = trained(context, case)
        losses_figure(record["losses"]).savefig(context.figure(f"ours-{case}-losses"))
        result[case] = {key: record[key] for key in ("plan", "minutes", "cpu_minutes")}
        result[case]["last_losses"] = record["losses"][-1]
        for metallicities in ("discrete", "continuous"):
            data = context.dataset(metallicities, CASES[case][0])
            found = measure(answer, data, data.test, n_samples=context.size(500, 200), seed=context.seed)
            result[case][metallicities] = found.summary()
            if metallicities == "discrete":
                scatter_figure(found).savefig(context.figure(f"ours-{case}-scatter"))
    return result


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    lines = [
        "An inversion, principal components, a residual network and a flow over log-ratios of the gaps between "
        "formation times (`benchmarks/thesis/answer.py`), trained on the spectra of any [M/H]; R2 of the "
        f"posterior medians of {result['full']['discrete']['n']:,} test spectra.",
        "",
    ]
    rows = []
    setups = {"full": "full range", "stack": "stack configuration"}
    for case, title in _TITLES.items():
        stated = result["thesis"].get(setups[case], {})
        if stated:
            rows.append([f"thesis, {title}", "the 15 values", *_figures(stated)])
        rows.append(["asked of ours", "", *_figures(dict(zip(SHOWN, ASKED[case], strict=True)))])
        for metallicities, label in (("discrete", "the 15 values"), ("continuous", "any, never trained on")):
            rows.append([f"ours, {title}", label, *_figures(result[case][metallicities]["r2"])])
    minutes = " and ".join(f"{result[case]['cpu_minutes']:.1f}" for case in _TITLES)
    return [
        *lines,
        *table(["", "test [M/H]", *SHOWN], rows, "ll" + "r" * len(SHOWN)),
        "",
        f"Training took {minutes} minutes of processor time.",
        "",
        "![Posterior medians against the truth, full range](figures/ours-full-scatter.png)",
        "",
        "![Losses, full range](figures/ours-full-losses.png)",
    ]


def _figures(scores: dict[str, float]) -> list[str]:
    return [f"{scores[name]:.4f}" for name in SHOWN]
