"""What comments and headers say in words: redshift, medium, rest frame, resolution.

Files without a survey's layout say such things in free text (``# wavelength [Angstrom, air, rest]``,
``WAVEFRM = 'rest frame, vacuum'``, ``# redshift = 0.01``).  Only plain statements are believed: the words
air, vacuum and rest count where the line speaks of wavelengths, frames or media ("outside air temperature"
is no statement about wavelengths), and a file that names both media, or both frames, has said nothing.
A redshift beside rest-frame wavelengths is not theirs, so 0 is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Stated", "header_lines", "stated_in"]

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan)\b"
_REDSHIFT = re.compile(rf"\b(?:redshift|z)\s*[=:]\s*{_NUMBER}", re.IGNORECASE)
_RESOLUTION = re.compile(
    rf"\b(?:resolution|resolving[ _]power)\s*[=:]\s*{_NUMBER}\s*(a\b|aa\b|ang)?", re.IGNORECASE
)
_FWHM = re.compile(rf"\bfwhm\w*\s*[=:]\s*{_NUMBER}\s*(km|pix|nm|arcsec|\")?", re.IGNORECASE)
_FOREIGN = re.compile(r"\s|FWHM|SEEING")
_CONTEXT = re.compile(r"wav|lambda|\blam\b|frame|medium|spectral|angstrom", re.IGNORECASE)
_AIR = re.compile(r"\b(?:air|awav)\b(?!\s*(?:mass|temp))", re.IGNORECASE)
_VACUUM = re.compile(r"\bvac(?:uum)?\b", re.IGNORECASE)
_REST = re.compile(r"\brest(?:[ -]?frame)?\b", re.IGNORECASE)
_OBSERVED = re.compile(r"\b(?:observed|observer|not)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Stated:
    """What a file says about its spectrum; None where it does not say.

    Parameters
    ----------
    redshift : float, optional
        Redshift of the wavelengths: 0 if they are said to be in the rest frame.
    medium : {"air", "vacuum"}, optional
        Medium of the wavelengths.
    resolution : float, optional
        Resolving power.
    fwhm : float, optional
        Width of the line-spread function in Angstrom.
    """

    redshift: float | None = None
    medium: str | None = None
    resolution: float | None = None
    fwhm: float | None = None


def stated_in(lines: Iterable[str]) -> Stated:
    """Collect what comment lines or header cards state.

    Parameters
    ----------
    lines : iterable of str
        One comment or card each.

    Returns
    -------
    Stated
    """
    lines = list(lines)
    spaced = [line.replace("_", " ") for line in lines]
    about = [line for line in spaced if _CONTEXT.search(line) or line.strip(" #").lower() in ("air", "vacuum")]
    resolution, fwhm = _resolution(lines)
    return Stated(
        redshift=0.0 if _is_rest_frame(about) else _number(_REDSHIFT, lines),
        medium=_medium(about),
        resolution=resolution,
        fwhm=fwhm,
    )


def header_lines(header: Any) -> list[str]:
    """Write the cards of a FITS header as ``key = value (comment)`` lines, ready for `stated_in`.

    Instrument keywords of several words (HIERARCH) and image quality (FWHM, SEEING) are left out, and
    VACUUM = T or F is spelled out.
    """
    cards = [card for card in header.cards if card.keyword and not _FOREIGN.search(card.keyword)]
    lines = [f"{card.keyword} = {card.value} ({card.comment})" for card in cards]
    if isinstance(header.get("VACUUM"), bool):
        # the comment of this card usually names vacuum whatever its value
        lines = [line for line in lines if not line.startswith("VACUUM =")]
        lines.append(f"wavelengths in {'vacuum' if header['VACUUM'] else 'air'}")
    return lines


def _number(pattern: re.Pattern[str], lines: Iterable[str]) -> float | None:
    match = next(filter(None, map(pattern.search, lines)), None)
    return float(match[1]) if match else None


def _medium(lines: list[str]) -> str | None:
    air, vacuum = (any(map(word.search, lines)) for word in (_AIR, _VACUUM))
    if air == vacuum:
        return None
    return "air" if air else "vacuum"


def _is_rest_frame(lines: list[str]) -> bool:
    return any(map(_REST.search, lines)) and not any(map(_OBSERVED.search, lines))


def _resolution(lines: list[str]) -> tuple[float | None, float | None]:
    """Return resolving power and FWHM; a "resolution" in Angstrom is a FWHM, other units are not used."""
    match = next(filter(None, map(_RESOLUTION.search, lines)), None)
    if match:
        return (None, float(match[1])) if match[2] else (float(match[1]), None)
    match = next(filter(None, map(_FWHM.search, lines)), None)
    return (None, float(match[1])) if match and not match[2] else (None, None)
