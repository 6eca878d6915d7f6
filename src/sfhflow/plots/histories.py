"""The star formation history: mass assembled, and the rate at which it formed.

The curves are those of `sfhflow.curves`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from sfhflow.curves import assembly, bands, formation_rate, redshift_ticks
from sfhflow.errors import InputError
from sfhflow.plots.style import (
    BLUE,
    GREEN,
    LABEL_POINTS,
    RED,
    TICK_POINTS,
    axes_or_new,
    finish,
    legend,
)
from sfhflow.posterior import Posterior

__all__ = ["mass_assembly", "star_formation_rate"]

Array = NDArray[np.float64]

_DECADES = 4.0

Time = Literal["cosmic", "lookback"]


def mass_assembly(posterior: Posterior, ax: Axes | None = None, *, time: Time = "cosmic") -> Axes:
    """Draw the cumulative mass fraction against time, with 68 and 95 % bands, and redshift above.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy; the medians and 68 % intervals of its t10, t50 and t90 are marked.
    ax : Axes, optional
        Where to draw.
    time : {"cosmic", "lookback"}
        Time since the Big Bang, or before the light left the galaxy; it runs to the right in both.

    Raises
    ------
    InputError
        If `time` is neither.
    """
    lookback = _is_lookback(time)
    ax = axes_or_new(ax)
    age = posterior.age_of_universe
    cosmic, mass = assembly(posterior)
    _bands(ax, age - cosmic if lookback else cosmic, mass, color=BLUE)
    for percent in (10, 50, 90):
        _mark_time(ax, posterior, percent, lookback=lookback)
    ax.set(xlim=(age, 0) if lookback else (0, age), ylim=(0, 1.02))
    _redshift_axis(ax, age, lookback=lookback)
    return finish(ax, f"{time} time [Gyr]", "mass fraction formed", top=False)


def star_formation_rate(
    posterior: Posterior, ax: Axes | None = None, *, time: Time = "lookback", n_bins: int = 60
) -> Axes:
    """Draw the star formation rate against time, with 68 and 95 % bands, and redshift above.

    Lookback time runs to the right, on a cube-root scale that gives the last Gyr, which spectra resolve best, two
    fifths of the axis and still shows the present; cosmic time is linear.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    ax : Axes, optional
        Where to draw.
    time : {"lookback", "cosmic"}
        Time before the light left the galaxy, or since the Big Bang.
    n_bins : int
        Bins, equal in the cube root of lookback time but none shorter than 10 Myr, over which rates are averaged.

    Raises
    ------
    InputError
        If `time` is neither.
    """
    is_lookback = _is_lookback(time)
    ax = axes_or_new(ax)
    age = posterior.age_of_universe
    lookback, rates = formation_rate(posterior, n_bins=n_bins)
    top = 2.0 * np.quantile(rates, 0.975, axis=0).max()
    # zero has no place on a log axis: draw it out of sight
    rates = np.maximum(rates, 10.0 ** (-_DECADES - 1) * top)
    x = lookback if is_lookback else age - lookback
    _bands(ax, x, np.append(rates, rates[:, -1:], axis=1), color=GREEN, step="post")
    if is_lookback:
        ax.set_xscale("function", functions=(np.cbrt, lambda x: x**3))
        ticks = [tick for tick in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0) if tick < age]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set(yscale="log", xlim=(age, 0) if is_lookback else (0, age), ylim=(10.0**-_DECADES * top, top))
    _redshift_axis(ax, age, lookback=is_lookback, cube_root=is_lookback)
    return finish(ax, f"{time} time [Gyr]", "SFR / mass formed [Gyr$^{-1}$]", top=False)


def _is_lookback(time: str) -> bool:
    if time not in ("cosmic", "lookback"):
        raise InputError(f"time is {time!r}, expected 'cosmic' or 'lookback'; choose one of them")
    return time == "lookback"


def _bands(
    ax: Axes, x: Array, samples: Array, *, color: str, step: Literal["pre", "post", "mid"] | None = None
) -> None:
    """Median, 68 and 95 % bands of samples (n, M) at x (M,)."""
    q = bands(samples)
    ax.fill_between(x, q[0], q[4], step=step, color=color, alpha=0.2, lw=0, label="95 %")
    ax.fill_between(x, q[1], q[3], step=step, color=color, alpha=0.4, lw=0, label="68 %")
    ax.plot(x, q[2], drawstyle=f"steps-{step}" if step else "default", color=color, lw=1.2, label="median")
    legend(ax)


def _mark_time(ax: Axes, posterior: Posterior, percent: int, *, lookback: bool) -> None:
    """Median formation time with its 68 % interval, labelled beside the band where there is room."""
    age = posterior.age_of_universe
    samples = posterior.columns()[f"t{percent}"][0]
    far_low, low, middle, high, far_high = np.quantile(samples, [0.025, 0.16, 0.5, 0.84, 0.975])
    y = percent / 100
    shown = abs(age - middle) if lookback else middle
    below, above = (high - middle, middle - low) if lookback else (middle - low, high - middle)
    ax.errorbar(shown, y, xerr=[[below], [above]], fmt="o", color=RED, ms=3.5, lw=1.0)
    right = far_high < 0.85 * age
    place = far_high if right else far_low
    ax.annotate(
        f"$t_{{{percent}}}$",
        (age - place if lookback else place, y),
        xytext=(3 if right else -3, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=LABEL_POINTS,
        color=RED,
    )


def _redshift_axis(ax: Axes, age: float, *, lookback: bool, cube_root: bool = False) -> None:
    """Redshifts above the axis of time, at the times of the Universe at which light has them today."""
    ages, labels = redshift_ticks(age, cube_root=cube_root)
    places = age - ages if lookback else ages
    if cube_root:
        # a secondary axis ignores the scale of its parent: this one is linear in the cube root
        top = ax.secondary_xaxis("top", functions=(np.cbrt, lambda x: x))
        places = np.cbrt(places)
    else:
        top = ax.secondary_xaxis("top")
    top.set_xticks(places, labels)
    top.tick_params(direction="in", labelsize=TICK_POINTS, width=0.6, pad=2)
    top.set_xlabel("redshift", fontsize=LABEL_POINTS, labelpad=3)
