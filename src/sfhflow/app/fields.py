"""What the page's forms say: text fields become numbers, ranges and options, or a sentence about what is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sfhflow.errors import InputError
from sfhflow.observation import rest_frame_air
from sfhflow.readers.raw import ReadOptions, with_snr
from sfhflow.reweight import NewPrior, flat, gaussian
from sfhflow.spectrum import Spectrum

__all__ = [
    "SAMPLES_RANGE",
    "FitSettings",
    "asked_fields",
    "fit_settings",
    "in_words",
    "parse_prior",
    "parse_ranges",
    "stated",
]

SAMPLES_RANGE = (100, 20_000)
_MAX_SEED = 2**31 - 1
_MAX_RANGES = 50
_OPTIONS = ("redshift", "medium", "resolution", "fwhm", "snr")
_NUMBER = r"([-+]?\d*\.?\d+)"
_GAUSSIAN = re.compile(rf"\s*(\w+)\s+{_NUMBER}\s*(?:±|\+/?-)\s*{_NUMBER}\s*")
_FLAT = re.compile(rf"\s*(\w+)\s+{_NUMBER}\s*(?:\.\.+|…|to)\s*{_NUMBER}\s*")
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:-|–|\.\.+|to)\s*(\d+(?:\.\d+)?)\s*")
# messages name the flags of the command line; the page has fields instead
_FLAGS = {
    "--medium air or --medium vacuum": "the medium (air or vacuum)",
    "--redshift": "the redshift",
    "--medium": "the medium",
    "--resolution": "the resolution",
    "--fwhm": "the FWHM of the line-spread function",
    "--snr": "the signal-to-noise ratio",
}


@dataclass(frozen=True)
class FitSettings:
    """How a spectrum is to be fitted.

    Attributes
    ----------
    n_samples, seed : int
        Number of posterior samples, and the seed of their random numbers.
    mask_lines : bool
        Leave out the windows of the emission lines.
    masked : tuple of (float, float)
        Further ranges to leave out, rest-frame air wavelengths in Angstrom.
    prior : NewPrior, optional
        Prior of one quantity in the place of the one trained with.
    options : ReadOptions
        Redshift, medium, resolution and noise in the place of those that were read.
    """

    n_samples: int = 1000
    seed: int = 0
    mask_lines: bool = True
    masked: tuple[tuple[float, float], ...] = ()
    prior: NewPrior | None = None
    options: ReadOptions = field(default_factory=ReadOptions)

    def apply(self, spectrum: Spectrum) -> Spectrum:
        """Return the spectrum with what the settings say about it.

        Raises
        ------
        SpectrumError
            If that makes it unusable.
        """
        changes = {name: getattr(self.options, name) for name in ("redshift", "medium", "resolution")}
        if self.options.fwhm is not None:
            changes["resolution"] = spectrum.wavelength / self.options.fwhm
        spectrum = replace(spectrum, **{name: value for name, value in changes.items() if value is not None})
        spectrum = spectrum if self.options.snr is None else with_snr(spectrum, self.options.snr)
        if not self.masked:
            return spectrum
        rest = rest_frame_air(spectrum)
        inside = np.any([(rest >= low) & (rest <= high) for low, high in self.masked], axis=0)
        ranges = ", ".join(f"{low:g}-{high:g}" for low, high in self.masked)
        meta = {**spectrum.meta, "masked": f"{ranges} Angstrom (rest frame, air)"}
        return replace(spectrum.with_mask(inside), meta=meta)


def stated(fields: Mapping[str, Any]) -> ReadOptions:
    """Read redshift, medium, resolution and FWHM; empty fields say nothing.

    Raises
    ------
    InputError
        If one of them makes no sense.
    """
    values: dict[str, Any] = {name: _number(fields, name) for name in _OPTIONS if name != "medium"}
    return ReadOptions(medium=_text(fields, "medium") or None, **values)


def fit_settings(fields: Mapping[str, Any]) -> FitSettings:
    """Read the settings of a fit; what is missing has its default.

    Raises
    ------
    InputError
        If one of them makes no sense.
    """
    default = FitSettings()
    mask_lines = fields.get("mask_lines", default.mask_lines)
    if not isinstance(mask_lines, bool):
        raise InputError(f"mask_lines is {mask_lines!r}, expected true or false; correct it")
    return FitSettings(
        n_samples=_integer(fields, "n_samples", default.n_samples, SAMPLES_RANGE),
        seed=_integer(fields, "seed", default.seed, (0, _MAX_SEED)),
        mask_lines=mask_lines,
        masked=parse_ranges(_text(fields, "masked")),
        prior=parse_prior(_text(fields, "prior")),
        options=stated(fields),
    )


def parse_ranges(text: str) -> tuple[tuple[float, float], ...]:
    """Read wavelength ranges such as ``5000-5100, 6300-6320``.

    Raises
    ------
    InputError
        If a part is not a range.
    """
    parts = [part for part in re.split(r"[,;\n]", text) if part.strip()]
    if len(parts) > _MAX_RANGES:
        raise InputError(f"found {len(parts)} masked ranges, expected at most {_MAX_RANGES}; merge some of them")
    return tuple(_range(part) for part in parts)


def parse_prior(text: str) -> NewPrior | None:
    """Read a prior such as ``mh -0.1 ± 0.2`` (Gaussian) or ``t50 2 ... 12`` (flat); nothing means none.

    Raises
    ------
    InputError
        If it is neither.
    """
    if not text.strip():
        return None
    for pattern, make in ((_GAUSSIAN, gaussian), (_FLAT, flat)):
        if match := pattern.fullmatch(text):
            return make(match[1], float(match[2]), float(match[3]))
    raise InputError(
        f"prior {text.strip()[:40]!r} is not understood, expected a quantity with mean and width such as "
        "mh -0.1 ± 0.2, or with a range such as t50 2 ... 12; correct it"
    )


def in_words(sentence: str) -> str:
    """Replace flags of the command line by the names of the page's fields."""
    for flag, words in _FLAGS.items():
        sentence = sentence.replace(flag, words)
    return sentence


def asked_fields(sentence: str) -> list[str]:
    """Names of the fields whose flags a message names."""
    return [name for name in _OPTIONS if f"--{name}" in sentence]


def _range(part: str) -> tuple[float, float]:
    match = _RANGE.fullmatch(part)
    low, high = (float(match[1]), float(match[2])) if match else (1.0, 0.0)
    if not low < high:
        raise InputError(
            f"masked range {part.strip()[:40]!r} is not a range, expected two rising wavelengths in Angstrom such "
            "as 5000-5100; correct it"
        )
    return low, high


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value).strip()


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    text = _text(fields, name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name} is {text[:40]!r}, expected a number such as 0.02; correct it or leave it empty")
    return value


def _integer(fields: Mapping[str, Any], name: str, default: int, limits: tuple[int, int]) -> int:
    value = _number(fields, name)
    if value is None:
        return default
    if value != int(value) or not limits[0] <= value <= limits[1]:
        raise InputError(
            f"{name} is {value:g}, expected a whole number from {limits[0]} to {limits[1]}; change it"
        )
    return int(value)
