"""A posterior in the form of other packages: arviz, astropy, Bagpipes, Prospector, dense_basis, pPXF.

One target a file.  All of them but arviz, which is an extra, get arrays and names that they take; none of those
packages is needed here.
"""

from sfhflow.interop.arviz import to_inference_data
from sfhflow.interop.binned import bagpipes_continuity, default_edges, prospector_continuity, sfh_table
from sfhflow.interop.dense_basis import sfh_tuples
from sfhflow.interop.ppxf import light_per_mass, ssp_weights
from sfhflow.interop.table import to_table

__all__ = [
    "bagpipes_continuity",
    "default_edges",
    "light_per_mass",
    "prospector_continuity",
    "sfh_table",
    "sfh_tuples",
    "ssp_weights",
    "to_inference_data",
    "to_table",
]
