"""`sfhflow survey`: many spectra into one catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sfhflow.cli.options import ModelOption, SamplesOption, SeedOption
from sfhflow.survey import SHARD_SIZE, estimate_survey, run_survey

__all__ = ["EXAMPLES", "survey"]

EXAMPLES = (
    "sfhflow survey spectra/ --out catalogue",
    "sfhflow survey 'spectra/*/spec-*.fits' --out catalogue --workers 8",
    "sfhflow survey galaxies.parquet --out catalogue --plan",
)


def survey(
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, 'patterns', tables, packed files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the catalogue; a run found there goes on.")],
    *,
    model: ModelOption = "default",
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Local processes, with Dask.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask cluster, tcp://...")] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Files or rows in a shard.")] = SHARD_SIZE,
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
    keep_samples: Annotated[bool, typer.Option("--keep-samples", help="Write the samples too.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only estimate time and disk, from a sample.")] = False,
) -> None:
    """Infer many spectra into one catalogue; interrupt it at any time and run the same command to go on."""
    options: dict[str, Any] = {
        "model": model,
        "n_samples": samples,
        "shard_size": shard_size,
        "keep_samples": keep_samples,
    }
    if plan:
        typer.echo(estimate_survey(inputs, **options).text(workers=workers or 1))
        return
    cluster: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "device": device}
    summary = run_survey(inputs, out, **options, **cluster, seed=seed, progress=True)
    typer.echo(summary.text)
