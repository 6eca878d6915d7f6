"""Families of star formation histories and what can be asked of a history."""

from sfhflow.sfh.events import HistoryFamily, WithBurst, WithQuench, add_burst, quench
from sfhflow.sfh.gp import GaussianProcessSFH, gp_sfr
from sfhflow.sfh.history import (
    StarFormationHistory,
    cumulative_mass,
    effective_formation_times,
    formation_times,
    rebin,
    star_formation_rate,
)
from sfhflow.sfh.mixture import MixtureSFH, SFHFamily, default_mixture, sample_times, thesis_family
from sfhflow.sfh.parametric import DelayedTau, DoublePowerLaw, LogNormal, TopHat
from sfhflow.sfh.quantile import FRACTIONS, QuantileSFH, history_from_times

__all__ = [
    "FRACTIONS",
    "DelayedTau",
    "DoublePowerLaw",
    "GaussianProcessSFH",
    "HistoryFamily",
    "LogNormal",
    "MixtureSFH",
    "QuantileSFH",
    "SFHFamily",
    "StarFormationHistory",
    "TopHat",
    "WithBurst",
    "WithQuench",
    "add_burst",
    "cumulative_mass",
    "default_mixture",
    "effective_formation_times",
    "formation_times",
    "gp_sfr",
    "history_from_times",
    "quench",
    "rebin",
    "sample_times",
    "star_formation_rate",
    "thesis_family",
]
