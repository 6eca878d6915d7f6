"""Simple stellar populations: the library record, its sources, its low-rank form and its weights."""

from sfhflow.ssp.library import SSPLibrary
from sfhflow.ssp.lowrank import LowRank, compress, expand
from sfhflow.ssp.store import load, load_shipped, open_library, save, shipped_names
from sfhflow.ssp.weights import age_weights, metallicity_weights

__all__ = [
    "LowRank",
    "SSPLibrary",
    "age_weights",
    "compress",
    "expand",
    "load",
    "load_shipped",
    "metallicity_weights",
    "open_library",
    "save",
    "shipped_names",
]
