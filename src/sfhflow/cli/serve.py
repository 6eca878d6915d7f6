"""`sfhflow serve`: the web page on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sfhflow import __version__
from sfhflow.app import Service
from sfhflow.app import serve as serve_page
from sfhflow.cli.options import ModelOption
from sfhflow.model import load_model

__all__ = ["EXAMPLES", "serve"]

EXAMPLES = (
    "sfhflow serve",
    "sfhflow serve --port 0 --model mymodel",
)


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to bind to; the default is this machine alone.")
    ] = "127.0.0.1",
    model: ModelOption = "default",
) -> None:
    """Open a web page on this machine: drop spectra, see their histories, take the results."""
    service = Service(load_model(model), version=__version__)
    serve_page(service, host=host, port=port, announce=typer.echo)
