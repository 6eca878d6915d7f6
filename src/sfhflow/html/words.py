"""What the pages say: names of quantities in words, where a result comes from, and whom to cite."""

from __future__ import annotations

from typing import NamedTuple

from sfhflow.posterior import Posterior
from sfhflow.report import summary_dict

__all__ = ["CITATIONS", "QUANTITIES", "Quantity", "provenance"]


class Quantity(NamedTuple):
    """Short label and full description of a quantity."""

    label: str
    meaning: str


QUANTITIES = {
    "t0": Quantity("t0 [Gyr]", "Cosmic time when star formation began"),
    **{
        f"t{p}": Quantity(f"t{p} [Gyr]", f"Cosmic time when {p} % of the stellar mass had formed")
        for p in (*range(10, 91, 10), 95, 99)
    },
    "t100": Quantity("t100 [Gyr]", "Cosmic time when star formation ended"),
    "mh": Quantity("[M/H] [dex]", "Stellar metallicity"),
    "a_v": Quantity("A_V [mag]", "Dust attenuation at 5500 Å"),
    "sigma": Quantity("σ [km/s]", "Stellar velocity dispersion"),
    "age_mw": Quantity("age [Gyr]", "Mass-weighted stellar age"),
    "log_ssfr_10myr": Quantity("log sSFR 10 Myr", "Specific star formation rate over the last 10 Myr"),
    "log_ssfr_100myr": Quantity("log sSFR 100 Myr", "Specific star formation rate over the last 100 Myr"),
    "log_ssfr_1gyr": Quantity("log sSFR 1 Gyr", "Specific star formation rate over the last Gyr"),
    "f_1gyr": Quantity("f (1 Gyr)", "Fraction of the stellar mass formed in the last Gyr"),
    "quiescent_for": Quantity("quiescent [Gyr]", "Time since star formation was quenched"),
    "t_quench": Quantity("quenched at [Gyr]", "Cosmic time when star formation was quenched"),
    "age_lw": Quantity("light age [Gyr]", "Mean stellar age, weighted by the light in the r band"),
    "log_ml_r": Quantity("log M/L (r)", "Mass formed per light in the r band, without dust, in solar units"),
    "log_ml_v": Quantity("log M/L (V)", "Mass formed per light in the V band, without dust, in solar units"),
    "log_ml_r_dusty": Quantity("log M/L (r, dusty)", "Mass formed per light in the r band seen through dust"),
    "log_ml_v_dusty": Quantity("log M/L (V, dusty)", "Mass formed per light in the V band seen through dust"),
    "log_mass": Quantity("log M [Msun]", "Stellar mass formed, of the light in the aperture"),
}
"""Label and description of every quantity, by name."""

CITATIONS = (
    (
        "Method",
        "Iglesias-Navarro, Huertas-Company, Martín-Navarro, Knapen & Pernet 2024, A&A 689, A58: Deriving the star "
        "formation histories of galaxies from spectra with simulation-based inference",
    ),
    ("Software", "sfhflow, with the version given above"),
    (
        "Ingredients of the shipped models",
        "MILES stars (Sánchez-Blázquez et al. 2006, MNRAS 371, 703), FASTAR (Martín-Navarro, "
        "github.com/inavarro/fastar), BaSTI-IAC isochrones (Hidalgo et al. 2018, ApJ 856, 125), zuko",
    ),
)
"""What to cite: the thing, and its reference."""


def provenance(posterior: Posterior, version: str) -> list[tuple[str, str]]:
    """Return where a result comes from, as pairs of a name and a text."""
    summary, data = summary_dict(posterior, version=version), posterior.spectrum
    resolution = summary["resolution"]
    return [
        ("Input", summary["input"]),
        ("Layout", data.meta.get("reader", "not known")),
        ("Redshift", f"{data.redshift:.6g}"),
        ("Wavelengths", f"{data.wavelength[0]:.0f} to {data.wavelength[-1]:.0f} Å, {data.medium}"),
        ("Resolution", resolution if isinstance(resolution, str) else f"λ/FWHM = {resolution:.0f} (median)"),
        ("Signal to noise", f"{data.snr:.1f} per pixel (median)"),
        ("Pixels used", f"{int((~data.mask).sum())} of {len(data)} before windows of emission lines"),
        ("Age of the Universe", f"{posterior.age_of_universe:.2f} Gyr at this redshift"),
        ("Model", posterior.model),
        ("Software", f"sfhflow {version}"),
        ("Samples and seed", f"{len(posterior)} samples, seed {posterior.seed}"),
        *(("Note", note[:1].upper() + note[1:]) for note in summary["notes"]),
    ]
