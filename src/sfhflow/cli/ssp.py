"""`sfhflow ssp`: libraries of stellar populations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from sfhflow.cli.options import examples, writing
from sfhflow.ssp import fastar, open_library, save, shipped_names

__all__ = ["app"]

app = typer.Typer(help="Build, list and describe libraries of stellar populations.", no_args_is_help=True)


@app.command("list", epilog=examples("sfhflow ssp list"))
def list_libraries() -> None:
    """List the libraries that come with the package."""
    for name in shipped_names():
        library = open_library(name)
        typer.echo(f"{name}: {len(library.ages_gyr)} ages x {len(library.metallicities)} [M/H]")


@app.command("show", epilog=examples("sfhflow ssp show fastar-kroupa"))
def show_library(name: Annotated[str, typer.Argument(help="Shipped name, or a path.")]) -> None:
    """Describe a library: its grid, wavelengths, resolution and origin."""
    library = open_library(name)
    wavelength = library.wavelength
    typer.echo(f"name         {library.name}")
    typer.echo(f"ages         {len(library.ages_gyr)}: {library.ages_gyr[0]:g} to {library.ages_gyr[-1]:g} Gyr")
    typer.echo(f"[M/H]        {', '.join(f'{value:g}' for value in library.metallicities)}")
    typer.echo(f"wavelength   {wavelength[0]:.1f} to {wavelength[-1]:.1f} Angstrom, {library.medium}")
    for key, value in library.metadata.items():
        typer.echo(f"{key:<12} {value}")


@app.command(
    "build",
    epilog=examples(
        "sfhflow ssp build --out kroupa.safetensors",
        "sfhflow ssp build --source path/to/MILES/folder --out miles.safetensors",
    ),
)
def build_library(
    out: Annotated[Path, typer.Option("--out", help="Output file (.safetensors).")],
    source: Annotated[
        str, typer.Option(help="'fastar', or a path to MILES FITS files or a pPXF .npz.")
    ] = "fastar",
    imf: Annotated[str, typer.Option(help="Initial mass function, for fastar.")] = "kroupa",
) -> None:
    """Make a library file from the FASTAR generator or from files of other libraries."""
    if source == "fastar":
        with tqdm(unit="SSP") as bar:
            library = fastar.build(imf, progress=lambda done, total: _advance(bar, done, total))
    else:
        library = open_library(source)
    with writing(out):
        save(library, out)
    typer.echo(f"{library.name} written to {out}")


def _advance(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
