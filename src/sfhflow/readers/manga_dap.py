"""Binned MaNGA spectra: the model ``LOGCUBE`` of the data analysis pipeline, one spectrum a bin.

The pipeline stacks spaxels into Voronoi bins (VOR10, HYB10) and writes the stack into each spaxel of its bin;
the first channel of ``BINID`` (5, y, x) says which bin that is, -1 meaning none.  Each bin is read once, from
its first spaxel, and its number is the bin's.  HDUs ``FLUX``, ``IVAR`` and ``MASK`` of shape (n, y, x),
``WAVE`` (n,) in vacuum and ``LSF`` (``DISP`` up to DR15), the dispersion in Angstrom.  The fluxes are not
corrected for the dust of the Milky Way.  The redshift is ``SCINPVEL`` / c of the primary header: that of the
galaxy, from which a bin may move by 300 km/s.  A pixel is masked if its inverse variance is zero or a bit of
`sfhflow.readers.bits.DAPSPECMASK_BAD` is set; later bits tell how models were fitted.  In SPX files each
spaxel is a bin.

Source: Westfall et al. 2019, AJ 158, 231; sdss-mangadap.readthedocs.io, "Data Model".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.readers.bits import DAPSPECMASK_BAD, flagged
from sfhflow.readers.cubes import check_shape, spectrum_at
from sfhflow.readers.manga import FLUX_UNIT, header_redshift, resolving_power
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra, RawSpectrum

__all__ = ["NAME", "identify", "read"]

NAME = "manga_dap"


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has a cube called FLUX and the map of bins."""
    hdus = [opened.hdu(name) for name in ("FLUX", "WAVE", "BINID")]
    return all(hdu is not None and hdu.is_image for hdu in hdus) and hdus[0].header.get("NAXIS") == 3


def read(opened: OpenedFile) -> RawSpectra:
    """Read all bins.

    Raises
    ------
    SpectrumError
        If an HDU is missing or of another shape.
    """
    flux, ivar, mask = (opened.image(name) for name in ("FLUX", "IVAR", "MASK"))
    for name, cube in (("IVAR", ivar), ("MASK", mask)):
        check_shape(str(opened.path), name, cube, flux.shape)
    wavelength = np.asarray(opened.image("WAVE"), dtype=float)
    spaxels = _first_spaxels(opened.image("BINID"))
    redshift, kind = header_redshift(opened), str(opened.hdus[0].header.get("DAPTYPE", ""))  # type: ignore[index]

    def make(bin_id: int) -> RawSpectrum:
        i = spaxels[bin_id]
        return RawSpectrum(
            wavelength=wavelength,
            flux=spectrum_at(flux, i),
            ivar=spectrum_at(ivar, i),
            mask=flagged(spectrum_at(mask, i), DAPSPECMASK_BAD),
            resolution=resolving_power(opened, i, wavelength),
            redshift=redshift,
            medium="vacuum",
            flux_unit=FLUX_UNIT,
            hint="(no SCINPVEL or NSA_Z in the header)",
            meta={"spaxel": str(i), **({"dap_type": kind} if kind else {})},
        )

    return RawSpectra(sorted(spaxels), make)


def _first_spaxels(bin_ids: NDArray[Any]) -> dict[int, int]:
    """Map each bin to the number y * n_x + x of its first spaxel."""
    first_channel = bin_ids[0] if bin_ids.ndim == 3 else bin_ids
    ids, places = np.unique(first_channel.ravel(), return_index=True)
    return {int(i): int(place) for i, place in zip(ids, places, strict=True) if i >= 0}
