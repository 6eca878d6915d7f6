r"""CALIFA data cubes (V500, V1200 and COMB), spaxel by spaxel.

The primary image (n, y, x) is the flux in units of 1e-16 erg/s/cm2/A, on the linear wavelength axis of its
header, in air.  HDU ``ERROR`` is the standard deviation of each voxel and ``BADPIX`` is nonzero where a voxel
must not be used; ``ERRWEIGHT``, by which errors grow when *all* spaxels are added up, and ``FIBCOVER``, the
number of fibres, are not needed for single spaxels.  The line-spread function has been brought to one FWHM,
6.0 A for V500 and COMB and 2.3 A for V1200, told apart by the pixel (2 and 0.7 A).  The redshift is
``MED_VEL`` / c, the header's systemic velocity of the galaxy, or a keyword ``Z`` or ``REDSHIFT``.  A
spectrum's number is y * n_x + x, and spaxels without any data are left out.

Source: Husemann et al. 2013, A&A 549, A87; García-Benito et al. 2015, A&A 576, A135;
Sánchez et al. 2016, A&A 594, A36.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.readers.cubes import check_shape, covered, spectrum_at
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import SPEED_OF_LIGHT_KMS, RawSpectra, RawSpectrum, ivar_from_error
from sfhflow.readers.stated import header_lines, stated_in
from sfhflow.readers.wcs1d import wavelengths

__all__ = ["NAME", "identify", "read"]

NAME = "califa"
_FLUX_UNIT = "1e-16 erg / (s cm2 Angstrom)"
_FWHM_AA = {"V500": 6.0, "V1200": 2.3}
_LARGEST_V1200_PIXEL_AA = 1.0


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has a cube in its primary HDU, and an image called ERROR."""
    if not opened.hdus or opened.hdus[0].header.get("NAXIS") != 3:
        return False
    return "CRVAL3" in opened.hdus[0].header and opened.hdu("ERROR") is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read all spaxels that have data.

    Raises
    ------
    SpectrumError
        If an HDU is missing or of another shape.
    """
    where, header = str(opened.path), opened.hdus[0].header  # type: ignore[index]
    flux, error, bad = opened.hdus[0].data, opened.image("ERROR"), opened.image("BADPIX")  # type: ignore[index]
    for name, cube in (("ERROR", error), ("BADPIX", bad)):
        check_shape(where, name, cube, flux.shape)
    wavelength = wavelengths(header, len(flux), where=where, axis=3)
    redshift, setup = _redshift(header), _setup(wavelength)
    return RawSpectra(
        covered(flux, error),
        lambda i: RawSpectrum(
            wavelength=wavelength,
            flux=spectrum_at(flux, i),
            ivar=ivar_from_error(spectrum_at(error, i), where),
            mask=spectrum_at(bad, i) != 0,
            resolution=wavelength / _FWHM_AA[setup],
            redshift=redshift,
            medium="air",
            flux_unit=_FLUX_UNIT,
            hint="(no MED_VEL, Z or REDSHIFT in the header)",
            meta={"setup": setup},
        ),
    )


def _redshift(header: Any) -> Any:
    velocity = header.get("MED_VEL")
    if isinstance(velocity, int | float):
        return velocity / SPEED_OF_LIGHT_KMS
    return stated_in(header_lines(header)).redshift


def _setup(wavelength: NDArray[np.float64]) -> str:
    """Return V500, as which COMB counts too, or V1200."""
    return "V1200" if np.median(np.diff(wavelength)) < _LARGEST_V1200_PIXEL_AA else "V500"
