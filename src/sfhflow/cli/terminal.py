"""Colours, where there is somebody to see them.

A stream is coloured if it is a terminal that can show colours (TERM is not "dumb") and the variable NO_COLOR is
unset or empty (https://no-color.org).
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

import typer

__all__ = ["complain", "judged", "shows_colours"]


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
