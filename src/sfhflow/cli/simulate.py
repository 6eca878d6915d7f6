"""`sfhflow simulate`: galaxies of a prior, and how an instrument sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfhflow.cli.options import SeedOption, writing
from sfhflow.config import read_config
from sfhflow.simulator import save_simulation

__all__ = ["EXAMPLES", "simulate"]

EXAMPLES = ("sfhflow simulate configs/default.toml -n 1000 --out mocks.safetensors",)


def simulate(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML).")],
    out: Annotated[Path, typer.Option("--out", help="Output file (.safetensors).")],
    number: Annotated[int, typer.Option("-n", min=1, help="Number of galaxies.")] = 1000,
    seed: SeedOption = 0,
) -> None:
    """Simulate galaxies: parameters and observed spectra, to a file."""
    simulator = read_config(config).simulator()
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        save_simulation(simulator, out, n=number, seed=seed)
    typer.echo(f"{number} galaxies written to {out}")
