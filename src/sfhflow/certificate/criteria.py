"""What a certificate demands, and whether it is met.

A measured coverage has a Monte-Carlo error, and among many bins and quantities the largest deviation is large by
chance.  A criterion is therefore met ("pass") if it is met as measured, met "within noise" if what is missing is
less than three standard errors, and failed otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sfhflow.certificate.bins import Bin
from sfhflow.certificate.uniformity import SampleTest

__all__ = ["Criterion", "all_criteria"]

Outcome = Literal["pass", "within noise", "fail"]

MIN_P_VALUE = 0.01
MAX_DEVIATION = 0.02
# of the width of the prior, where the data say nothing
MIN_FAINT_WIDTH = 0.8
_ERRORS = 3.0


@dataclass(frozen=True)
class Criterion:
    """One demand.

    Attributes
    ----------
    name : str
        Short name, for programs.
    statement : str
        What is demanded.
    value, limit : float
        What was measured, and what it may be at most (or must be at least, as the statement says).
    outcome : {"pass", "within noise", "fail"}
        Whether it is met; see the module's docstring.
    where : str
        Where the value was found, if it is the worst of several.
    """

    name: str
    statement: str
    value: float
    limit: float
    outcome: Outcome
    where: str = ""


def all_criteria(
    tests: Sequence[SampleTest],
    levels: ArrayLike,
    coverage: Bin,
    local: Mapping[str, Sequence[Bin]],
    faintest: Bin,
    prior_width: ArrayLike,
    names: Sequence[str],
) -> list[Criterion]:
    """Judge everything that a certificate holds; see `sfhflow.certificate.Certificate` for the arguments."""
    found = []
    for test in tests:
        suffix = f"{test.n_galaxies} galaxies"
        found.append(_significance(f"sbc_{test.n_galaxies}", f"SBC ranks uniform, {suffix}", test.sbc_p_value))
        found.append(_inside_band(test, suffix))
    found.append(_deviation("coverage", "Coverage of all galaxies within 2 points", [coverage], levels, names))
    for kind, bins in local.items():
        statement = f"Coverage in bins of {_KINDS.get(kind, kind)} within 2 points"
        found.append(_deviation(f"coverage_{kind}", statement, bins, levels, names))
    found.append(_falling(local["snr"], names))
    found.append(_back_to_prior(faintest, prior_width, names))
    return found


_KINDS = {
    "snr": "S/N",
    "t50": "inferred t50",
    "mh": "inferred [M/H]",
    "masked": "masked fraction",
}


def _significance(name: str, statement: str, p_value: float) -> Criterion:
    outcome: Outcome = "pass" if p_value > MIN_P_VALUE else "fail"
    return Criterion(name, f"{statement}: smallest p-value, Bonferroni", p_value, MIN_P_VALUE, outcome)


def _inside_band(test: SampleTest, suffix: str) -> Criterion:
    distance = np.abs(np.asarray(test.tarp.coverage) - test.tarp.levels)
    worst = int(distance.argmax())
    return Criterion(
        f"tarp_{test.n_galaxies}",
        f"TARP curve inside its 95 % band at all levels, {suffix}: largest distance",
        float(distance[worst]),
        test.tarp.half_width,
        "pass" if distance[worst] <= test.tarp.half_width else "fail",
        f"level {test.tarp.levels[worst]:.2f}",
    )


def _deviation(
    name: str, statement: str, bins: Sequence[Bin], levels: ArrayLike, names: Sequence[str]
) -> Criterion:
    """Largest deviation of coverage from its level over bins, levels and quantities."""
    nominal = np.asarray(levels)[:, None]
    filled = [b for b in bins if b.n_galaxies]
    off = np.stack([np.asarray(b.coverage) - nominal for b in filled])
    error = np.stack([np.sqrt(nominal * (1 - nominal) / b.n_galaxies) for b in filled])
    certain = np.abs(off) - _ERRORS * error
    failed = bool(np.any(certain > MAX_DEVIATION))
    # the worst is the one that is furthest beyond what chance explains, if any is
    worst = np.argmax(certain if failed else np.abs(off))
    b, level, quantity = (int(i) for i in np.unravel_index(worst, off.shape))
    value = float(off[b, level, quantity])
    outcome: Outcome = "fail" if failed else "pass" if abs(value) <= MAX_DEVIATION else "within noise"
    place = f"{filled[b].label}, {names[quantity]}, {100 * float(nominal[level, 0]):.0f} %"
    return Criterion(name, f"{statement}: largest deviation", value, MAX_DEVIATION, outcome, place)


def _falling(bins: Sequence[Bin], names: Sequence[str]) -> Criterion:
    """Largest ratio of the widths of a bin and the one before it."""
    ratio, error, where = 0.0, 0.0, ""
    failed = False
    filled = [b for b in bins if b.n_galaxies]
    for before, after in pairwise(filled):
        ratios = np.asarray(after.width) / np.asarray(before.width)
        relative = np.hypot(
            np.asarray(after.width_error) / after.width, np.asarray(before.width_error) / before.width
        )
        failed |= bool(np.any(ratios * (1 - _ERRORS * relative) > 1))
        i = int(ratios.argmax())
        if ratios[i] > ratio:
            ratio, error, where = float(ratios[i]), float(relative[i]), f"{names[i]}, {after.label}"
    outcome: Outcome = "pass" if ratio < 1 else "fail" if failed else "within noise"
    statement = "Median width falls with S/N: largest ratio of neighbouring bins"
    return Criterion("sharpness", statement, ratio, 1.0, outcome, f"{where} (± {error:.3f})")


def _back_to_prior(faintest: Bin, prior_width: ArrayLike, names: Sequence[str]) -> Criterion:
    """Smallest width, in units of the prior's, where the data say nothing."""
    ratio = np.asarray(faintest.width) / np.asarray(prior_width)
    error = np.asarray(faintest.width_error) / np.asarray(prior_width)
    i = int(ratio.argmin())
    outcome: Outcome = "pass"
    if ratio[i] < MIN_FAINT_WIDTH:
        outcome = "fail" if np.any(ratio + _ERRORS * error < MIN_FAINT_WIDTH) else "within noise"
    statement = f"Widths return to the prior's at S/N {faintest.label}: smallest ratio"
    return Criterion("prior", statement, float(ratio[i]), MIN_FAINT_WIDTH, outcome, names[i])
