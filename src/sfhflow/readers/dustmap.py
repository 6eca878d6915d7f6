r"""E(B-V) of the Milky Way at a position, from the map of Schlegel, Finkbeiner & Davis.

The map is read by the package dustmaps, the extra ``dustmaps``, which fetches it once (``dustmaps.sfd.fetch()``).
Its values are brought to the scale of Schlafly & Finkbeiner 2011, on which `deredden` works,

.. math:: E(B-V) = 0.86\; E(B-V)_\mathrm{SFD} .

Source: Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525; Schlafly & Finkbeiner 2011, ApJ 737, 103;
Green 2018, JOSS 3, 695 (dustmaps).
"""

from __future__ import annotations

from astropy.coordinates import SkyCoord

from sfhflow.errors import SpectrumError
from sfhflow.extras import optional

__all__ = ["map_ebv"]

_SCALE = 0.86


def map_ebv(ra: float, dec: float) -> float:
    """Look E(B-V) up.

    Parameters
    ----------
    ra, dec : float
        Right ascension and declination in degrees (ICRS).

    Returns
    -------
    float
        Colour excess in magnitudes on the scale of Schlafly & Finkbeiner 2011, for `deredden` or ``ebv=``.

    Raises
    ------
    SpectrumError
        If the position makes no sense, or the map has not been fetched.
    InputError
        If the extra ``dustmaps`` is not installed.
    """
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise SpectrumError(f"position {ra:g}, {dec:g} is not on the sky, expected degrees; correct it")
    try:
        query = optional("dustmaps.sfd", extra="dustmaps").SFDQuery()
    except OSError as error:
        raise SpectrumError(
            f"the dust map is not there ({error}), expected the files of dustmaps; "
            "fetch them once with dustmaps.sfd.fetch()"
        ) from error
    return _SCALE * float(query(SkyCoord(ra, dec, unit="deg")))
