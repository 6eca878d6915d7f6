"""The command line: `sfhflow demo | fit | survey | simulate | train | verify | serve | ssp`, one file a command.

Each command only wires together what the package does; user errors end as one sentence on standard error and
exit code 2, and in a list of files a bad one never stops the others.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from sfhflow import __version__
from sfhflow.cli import demo, fit, serve, simulate, ssp, survey, train, verify
from sfhflow.cli.options import examples
from sfhflow.cli.terminal import complain
from sfhflow.errors import InputError
from sfhflow.memory import keep_freed_memory

__all__ = ["app", "main"]

app = typer.Typer(
    help="Star formation histories and metallicities of galaxies from their optical spectra.",
    epilog="sfhflow COMMAND --help explains a command, with examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# in the order in which `sfhflow --help` lists them
app.command("fit", epilog=examples(*fit.EXAMPLES))(fit.fit)
app.command("demo", epilog=examples(*demo.EXAMPLES))(demo.demo)
app.command("survey", epilog=examples(*survey.EXAMPLES))(survey.survey)
app.command("serve", epilog=examples(*serve.EXAMPLES))(serve.serve)
app.command("simulate", epilog=examples(*simulate.EXAMPLES))(simulate.simulate)
app.command("train", epilog=examples(*train.EXAMPLES))(train.train)
app.command("verify", epilog=examples(*verify.EXAMPLES))(verify.verify)
app.add_typer(ssp.app, name="ssp")


def main() -> None:
    """Run the command line; user errors become one line and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    keep_freed_memory()
    try:
        app(prog_name="sfhflow")
    except InputError as error:
        typer.echo(complain(error), err=True)
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
