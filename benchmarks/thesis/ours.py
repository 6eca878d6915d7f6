"""Stage: our own answer to the thesis' task, noise-free (items of section 4.2, and 4.3 for the stacks).

Trained on galaxies of any [M/H], it is tested on the thesis' 15 values and on values never trained on, over the
full range and in the configuration of the stacks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from benchmarks.thesis.answer import Answer, Plan, train
from benchmarks.thesis.context import Context
from benchmarks.thesis.library import Window
from benchmarks.thesis.measure import losses_figure, measure, scatter_figure, thesis_numbers

__all__ = ["CASES", "run", "section", "trained"]

CASES: dict[str, tuple[Window, float]] = {
    "full": ("full", 0.0),
    "stack": ("stack", 0.0),
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
        return Plan(regression=context.size(24, 4, 2), density=context.size(10, 2, 1))
    return Plan(noise=noise, regression=context.size(6, 2, 1), density=context.size(10, 2, 1))


def trained(context: Context, case: str) -> tuple[Answer, list[dict[str, float]]]:
    """The answer of a case with its losses, trained on continuous [M/H] unless its weights are in the run folder."""
    data = context.dataset("continuous", CASES[case][0])
    wanted, path = plan(context, case), context.file(f"ours-{case}.safetensors")
    if not path.exists():
        answer, history = train(data, wanted, seed=context.seed)
        save_file(answer.state_dict(), path)
        np.savez(context.file(f"ours-{case}-losses.npz"), **_columns(history))
        return answer, history
    ends = data.view.metallicities[[0, -1]].tolist()
    answer = Answer(data.coefficients.shape[1], (ends[0], ends[1]), wanted)
    answer.load_state_dict(load_file(path))
    with np.load(context.file(f"ours-{case}-losses.npz")) as file:
        rows = zip(*(file[key].tolist() for key in file.files), strict=True)
        return answer.eval(), [dict(zip(file.files, row, strict=True)) for row in rows]


def run(context: Context) -> dict[str, Any]:
    """Train, test, draw."""
    result: dict[str, Any] = {}
    for case in ("full", "stack"):
        answer, history = trained(context, case)
        losses_figure(history).savefig(context.figure(f"ours-{case}-losses"))
        result[case] = {"losses": history[-1]}
        for metallicities in ("discrete", "continuous"):
            data = context.dataset(metallicities, CASES[case][0])
            found = measure(answer, data, data.test, n_samples=context.size(500, 200), seed=context.seed)
            result[case][metallicities] = found.summary()
            if metallicities == "discrete":
                figure = scatter_figure(found)
                figure.savefig(context.figure(f"ours-{case}-scatter"))
    return {**result, "thesis": thesis_numbers(context.data)}


def _columns(history: list[dict[str, float]]) -> dict[str, Any]:
    return {key: np.array([row[key] for row in history]) for key in history[0]}
