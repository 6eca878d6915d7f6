"""`sfhflow demo`: a real galaxy, fitted."""

from __future__ import annotations

from pathlib import Path

import typer

from sfhflow.cli.fit import fit
from sfhflow.cli.options import OutOption
from sfhflow.examples import example_path

__all__ = ["EXAMPLES", "demo"]

EXAMPLES = (
    "sfhflow demo",
    "sfhflow demo --out somewhere",
)


def demo(out: OutOption = Path("sfhflow-demo")) -> None:
    """Fit a real SDSS spectrum (NGC 3522) with the shipped model."""
    path = example_path("NGC3522")
    typer.echo(f"fitting {path.name}, an SDSS spectrum of the elliptical galaxy NGC 3522\n")
    fit([path], out=out)
