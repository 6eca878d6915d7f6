"""SSP spectra made by FASTAR: MILES stars along BaSTI-IAC isochrones, for any initial mass function.

FASTAR (Martin-Navarro, https://github.com/inavarro/fastar) predicts the spectrum of a star of given gravity,
temperature and metallicity with a network trained on the MILES stars, scales it to the isochrone's V-band
luminosity, and sums over the initial mass function phi(m), normalised to int m phi(m) dm = 1 Msun formed.
Its absolute magnitudes are m_AB = -2.5 log10(f) - 5 log10(lambda) - 2.406, so its spectra f are in
erg / s / cm2 / Angstrom at a distance of 10 pc, and

    L [Lsun / Angstrom / Msun] = 4 pi (10 pc)^2 f / Lsun,        Lsun = 3.828e33 erg / s (IAU 2015 B3).

The isochrones end at [M/H] = +0.3.  Up to +0.4, which MILES stars still cover, FASTAR puts stars of the
metallicity asked for on the isochrone of +0.3: an extrapolation, recorded in the library's metadata.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import LibraryError
from sfhflow.ssp.library import SSPLibrary

__all__ = ["AGES_GYR", "METALLICITIES", "SOLAR_UNITS", "build"]

_PARSEC_CM = 3.085677581491367e18
_SOLAR_LUMINOSITY = 3.828e33

#: Factor from erg / s / cm2 / Angstrom at 10 pc to Lsun / Angstrom.
SOLAR_UNITS = 4.0 * math.pi * (10.0 * _PARSEC_CM) ** 2 / _SOLAR_LUMINOSITY

#: Ages in Gyr of the MILES models with BaSTI isochrones (Vazdekis et al. 2015), up to 14 Gyr.
AGES_GYR: tuple[float, ...] = (
    *(0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 3.75, 4.0),
    *(4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5),
    *(13.0, 13.5, 14.0),
)

#: [M/H] of the same models.
METALLICITIES = (-2.27, -1.79, -1.49, -1.26, -0.96, -0.66, -0.35, -0.25, 0.06, 0.15, 0.26, 0.4)

_FWHM = 2.51
_AGE_RANGE = (0.02, 14.0)
_MH_RANGE = (-2.5, 0.4)
_ISOCHRONE_END = 0.3


def build(
    imf: str = "kroupa",
    *,
    ages: ArrayLike = AGES_GYR,
    metallicities: ArrayLike = METALLICITIES,
    imf_parameters: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SSPLibrary:
    """Synthesise a library with FASTAR (about 0.1 s for each spectrum).

    Parameters
    ----------
    imf : str
        Name of an initial mass function of `fastar.imf`: kroupa, chabrier, single_power_law,
        broken_power_law, bimodal or flexi.
    ages : array of shape (A,)
        Ages in Gyr, rising, from 0.02 to 14.
    metallicities : array of shape (Z,)
        [M/H] in dex, rising, from -2.5 to 0.4 (isochrones end at 0.3).
    imf_parameters : mapping, optional
        Parameters of the initial mass function, such as its slopes, where FASTAR's defaults do not serve.
    progress : callable, optional
        Called with (spectra done, spectra in all) after each spectrum.

    Returns
    -------
    SSPLibrary
        Spectra from 3540 to 7410 Angstrom in air, of 2.51 Angstrom FWHM, in Lsun / Angstrom / Msun formed.

    Raises
    ------
    LibraryError
        If FASTAR is not installed, the initial mass function is unknown, or the grid leaves its range.
    """
    ages, metallicities = np.array(ages, dtype=float), np.array(metallicities, dtype=float)
    _check_range("ages", "Gyr", ages, _AGE_RANGE)
    _check_range("metallicities", "dex", metallicities, _MH_RANGE)
    synthesizer = _synthesizer(imf)
    parameters = dict(imf_parameters or {})
    grid = [(age, mh) for age in ages for mh in metallicities]
    spectra = []
    for done, (age, mh) in enumerate(grid, start=1):
        spectra.append(np.asarray(synthesizer.synthesize(float(age), float(mh), parameters), dtype=float))
        if progress is not None:
            progress(done, len(grid))
    raw = np.array(spectra).reshape(len(ages), len(metallicities), -1)
    return _library(imf, parameters, ages, metallicities, np.asarray(synthesizer.wave, dtype=float), raw)


def _synthesizer(imf: str) -> Any:
    try:
        fastar = importlib.import_module("fastar")
        registry = importlib.import_module("fastar.imf.registry").IMFRegistry()
    except ImportError as error:
        raise LibraryError(
            f"cannot build an SSP library: FASTAR is not importable ({error}), expected the package "
            'fastar-astro; install it with `pip install "sfhflow[fastar]"`'
        ) from error
    if not registry.has_imf(imf):
        raise LibraryError(
            f"cannot build an SSP library: initial mass function is {imf!r}, expected one of "
            f"{', '.join(registry.list_available())}; choose one of them"
        )
    return fastar.IntegratedSSPSynthesizer(imf_function=registry[imf])


def _library(
    imf: str,
    imf_parameters: Mapping[str, float],
    ages: NDArray[np.float64],
    metallicities: NDArray[np.float64],
    wavelength: NDArray[np.float64],
    raw: NDArray[np.float64],
) -> SSPLibrary:
    return SSPLibrary(
        name=f"fastar-{imf}",
        ages_gyr=ages,
        metallicities=metallicities,
        # The grid is regular in steps of 0.9 Angstrom; single precision blurs it by 1e-4.
        wavelength=np.round(wavelength, 3),
        flux=raw * SOLAR_UNITS,
        fwhm=_FWHM,
        medium="air",
        metadata=_metadata(imf, imf_parameters),
    )


def _metadata(imf: str, imf_parameters: Mapping[str, float]) -> dict[str, str]:
    return {
        "imf": imf,
        "imf_parameters": ", ".join(f"{k}={v:g}" for k, v in imf_parameters.items()) or "defaults",
        "imf_normalisation": "1 Msun formed, between 0.1 and 100 Msun unless the parameters say otherwise",
        "flux_unit": "Lsun / Angstrom / Msun formed",
        "isochrones": "BaSTI-IAC",
        "stars": "MILES",
        "limits": (
            f"BaSTI-IAC isochrones end at [M/H] = +{_ISOCHRONE_END:.1f}; spectra of higher metallicity "
            "(0.40) are extrapolated: stars of that metallicity on the isochrone of +0.3"
        ),
        "code": f"fastar-astro {version('fastar-astro')}",
        "credit": (
            "FASTAR (Martin-Navarro, https://github.com/inavarro/fastar); MILES (Sanchez-Blazquez et al. "
            "2006, MNRAS 371, 703); BaSTI-IAC (Hidalgo et al. 2018, ApJ 856, 125); bolometric corrections of "
            "Worthey & Lee (2011, ApJS 193, 1)"
        ),
        "licence": "MIT (FASTAR)",
    }


def _check_range(what: str, unit: str, values: NDArray[np.float64], limits: tuple[float, float]) -> None:
    low, high = limits
    bad = ~((values >= low) & (values <= high))
    if values.ndim != 1 or values.size == 0 or np.any(bad):
        found = f"{values[bad][0]:g}" if np.any(bad) else f"an array of shape {values.shape}"
        raise LibraryError(
            f"cannot build an SSP library: {what} holds {found}, expected a list of numbers from {low:g} to "
            f"{high:g} {unit}; FASTAR has no isochrones or stars beyond, so stay in this range"
        )
