"""Colours, where there is somebody to see them.

A stream is coloured if it is a terminal that can show colours (TERM is not "dumb") and the variable NO_COLOR is
unset or empty (https://no-color.org).
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from typing import TextIO

import typer
from tqdm import tqdm

__all__ = ["Complaints", "complain", "judged", "shows_colours"]

_NUMBER = re.compile(r", spectrum \d+(?=:)")


def shows_colours(stream: TextIO) -> bool:
    """Tell whether text for a stream may be coloured."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def judged(text: str, *, ok: bool) -> str:
    """Colour the last line of a text for standard output, the verdict: green if it is good, else red."""
    if not shows_colours(sys.stdout):
        return text
    head, newline, verdict = text.rpartition("\n")
    return head + newline + typer.style(verdict, fg="green" if ok else "red", bold=True)


def complain(sentence: object) -> str:
    """Return a line for standard error that says what is wrong."""
    name = typer.style("sfhflow:", fg="red", bold=True) if shows_colours(sys.stderr) else "sfhflow:"
    return f"{name} {sentence}"


class Complaints:
    """What is wrong with many spectra: what is the same for thousands of spectra of a file is said once."""

    def __init__(self) -> None:
        self._said: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many spectra something is wrong with."""
        return self._said.total()

    def add(self, error: Exception) -> None:
        """Say what is wrong, unless it was said of another spectrum of the file."""
        kind = _NUMBER.sub("", str(error))
        if not self._said[kind]:
            tqdm.write(complain(error), file=sys.stderr)
        self._said[kind] += 1

    def finish(self) -> None:
        """Say how many were passed over."""
        for kind, number in self._said.items():
            if number > 1:
                file = kind.partition(": ")[0]
                tqdm.write(complain(f"{file}: the same for {number - 1} more of its spectra"), file=sys.stderr)
