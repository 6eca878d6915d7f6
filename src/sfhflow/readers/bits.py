"""Pixel mask bits of the surveys, and which of them condemn a pixel.

A mask is an integer a pixel whose bit k is set if condition k was met.  Not every condition is a reason to
drop a pixel: bits that only tell of a neighbouring defect or of a partial rejection, already paid for in the
inverse variance, would cost whole spectra if they were obeyed, and so would the SDSS bits that concern a
fibre as a whole (bits 0 to 15).

Sources: SDSS ``sdssMaskbits.par`` (SPPIXMASK, MANGA_DRP3PIXMASK, MANGA_DAPSPECMASK), described by Bolton et
al. 2012, AJ 144, 144, Law et al. 2016, AJ 152, 83 and Westfall et al. 2019, AJ 158, 231.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DAPSPECMASK_BAD", "DRP3PIXMASK_BAD", "SPPIXMASK_BAD", "flagged"]

#: SDSS, BOSS and eBOSS: set in every exposure (AND mask).  Not used: NEARBADPIXEL 16, LOWFLAT 17,
#: PARTIALREJECT 19, SCATTEREDLIGHT 20, CROSSTALK 21, and the emission-line mark 30 of old spSpec files.
SPPIXMASK_BAD: Mapping[str, int] = {
    "FULLREJECT": 18,
    "NOSKY": 22,
    "BRIGHTSKY": 23,
    "NODATA": 24,
    "COMBINEREJ": 25,
    "BADFLUXFACTOR": 26,
    "BADSKYCHI": 27,
    "REDMONSTER": 28,
}

#: MaNGA: all bits that its pipeline defines for cubes and row-stacked spectra.
DRP3PIXMASK_BAD: Mapping[str, int] = {
    "NOCOV": 0,
    "LOWCOV": 1,
    "DEADFIBER": 2,
    "FORESTAR": 3,
    "DONOTUSE": 10,
}

#: MaNGA, binned spectra of its analysis pipeline.  Not used: bits 5 to 9 (FITIGNORED, FITFAILED, ELIGNORED,
#: ELFAILED, NOMODEL), which tell how models were fitted to the spectrum.
DAPSPECMASK_BAD: Mapping[str, int] = {
    "IGNORED": 0,
    "FORESTAR": 1,
    "FLUXINVALID": 2,
    "IVARINVALID": 3,
    "ARTIFACT": 4,
}


def flagged(mask: NDArray[Any], bits: Mapping[str, int]) -> NDArray[np.bool_]:
    """Return True where any of the named bits is set in `mask`, an integer array of any shape."""
    condemned = sum(1 << bit for bit in bits.values())
    return (np.asarray(mask).astype(np.int64) & condemned) != 0
