r"""MUSE data cubes, spaxel by spaxel.

HDUs ``DATA``, the flux (n, y, x), and ``STAT``, its variance, on the linear wavelength axis of the header
(``CRVAL3``, ``CD3_3``; CTYPE3 = AWAV means air), with the unit in BUNIT; ``DQ``, where there is one, is
nonzero in bad voxels, and voxels without data are NaN.  The cube says nothing of its resolution; that of the
instrument in its wide field is

.. math:: \mathrm{FWHM} / \mathrm{A} = 5.866\times10^{-8} \lambda^2 - 9.187\times10^{-4} \lambda + 6.040 .

The redshift is a keyword ``Z`` or ``REDSHIFT``, which the pipeline does not write.  A spectrum's number is
y * n_x + x, and spaxels without any data are left out.  ``STAT`` does not know that neighbouring voxels are
correlated, so spectra of single spaxels have larger errors than it says.

Source: Weilbacher et al. 2020, A&A 641, A28 (the pipeline); Bacon et al. 2017, A&A 608, A1, eq. 8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfhflow.readers.cubes import check_shape, covered, spectrum_at
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra, RawSpectrum, ivar_from_error
from sfhflow.readers.stated import header_lines, stated_in
from sfhflow.readers.wcs1d import axis_medium, wavelengths

__all__ = ["NAME", "fwhm_aa", "identify", "read"]

NAME = "muse"


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file has cubes called DATA and STAT."""
    hdus = [opened.hdu("DATA"), opened.hdu("STAT")]
    return all(hdu is not None and hdu.is_image and hdu.header.get("NAXIS") == 3 for hdu in hdus)


def read(opened: OpenedFile) -> RawSpectra:
    """Read all spaxels that have data.

    Raises
    ------
    SpectrumError
        If the cubes are of different shape or there is no wavelength axis.
    """
    where, header = str(opened.path), opened.hdu("DATA").header
    flux, variance = opened.image("DATA"), opened.image("STAT")
    quality = opened.image("DQ") if opened.hdu("DQ") is not None else None
    check_shape(where, "STAT", variance, flux.shape)
    wavelength = wavelengths(header, len(flux), where=where, axis=3)
    lines = [*header_lines(opened.hdus[0].header), *header_lines(header)]  # type: ignore[index]
    redshift = stated_in(lines).redshift
    resolution = wavelength / fwhm_aa(wavelength) if _is_muse(opened) else None
    return RawSpectra(
        covered(flux, variance),
        lambda i: RawSpectrum(
            wavelength=wavelength,
            flux=spectrum_at(flux, i),
            ivar=ivar_from_error(_root(spectrum_at(variance, i)), where),
            mask=None if quality is None else spectrum_at(quality, i) != 0,
            resolution=resolution,
            redshift=redshift,
            medium=axis_medium(header, 3),
            flux_unit=str(header.get("BUNIT", "")),
            hint="(no Z or REDSHIFT in the header)",
        ),
    )


def fwhm_aa(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the FWHM in Angstrom of the line-spread function at a wavelength in Angstrom.

    Source: Bacon et al. 2017, A&A 608, A1, eq. 8 (the UDF-10 field).
    """
    return 5.866e-8 * wavelength**2 - 9.187e-4 * wavelength + 6.040


def _is_muse(opened: OpenedFile) -> bool:
    return str(opened.hdus[0].header.get("INSTRUME", "")).strip().upper() == "MUSE"  # type: ignore[index]


def _root(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    variance = np.asarray(variance, dtype=float)
    # negative where the pipeline has no estimate
    return np.sqrt(np.where(variance > 0, variance, 0.0))
