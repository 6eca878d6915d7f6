"""The command line: `sfhflow demo | fit | survey | simulate | train | serve | ssp`, one file a command.

Each command only wires together what the package does; user errors end as one sentence on standard error and
exit code 2, and in a list of files a bad one never stops the others.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from sfhflow import __version__
from sfhflow.cli import demo, fit, serve, simulate, ssp, survey, train
from sfhflow.errors import InputError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Star formation histories and metallicities of galaxies from their optical spectra.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# in the order in which `sfhflow --help` lists them
app.command("fit")(fit.fit)
app.command("demo")(demo.demo)
app.command("survey")(survey.survey)
app.command("serve")(serve.serve)
app.command("simulate")(simulate.simulate)
app.command("train")(train.train)
app.add_typer(ssp.app, name="ssp")


def main() -> None:
    """Run the command line; user errors become one line and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app(prog_name="sfhflow")
    except InputError as error:
        typer.echo(f"sfhflow: {error}", err=True)
        sys.exit(2)


def _version(show: bool | None) -> None:  # noqa: FBT001 - the signature of a typer callback
    if show:
        typer.echo(f"sfhflow {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = None,
) -> None:
    """Options before the command."""
