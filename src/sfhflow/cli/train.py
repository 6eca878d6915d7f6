"""`sfhflow train`: a model of another library, prior or instrument."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated

import torch
import typer

from sfhflow.cli.options import writing
from sfhflow.config import read_config
from sfhflow.errors import InputError
from sfhflow.model import load_model
from sfhflow.train import fit as fit_model

__all__ = ["EXAMPLES", "train"]

EXAMPLES = (
    "sfhflow train configs/default.toml --out mymodel",
    "sfhflow train configs/default.toml --out mymodel --device cuda --workers 12",
    "sfhflow train myprior.toml --start default --out mymodel",
)


def train(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML).")],
    out: Annotated[Path, typer.Option("--out", help="Model folder; a run found there is resumed.")],
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that simulate, if not as configured; the model is the same.", min=0),
    ] = None,
    start: Annotated[str | None, typer.Option(help="Shipped model or model folder to fine-tune.")] = None,
) -> None:
    """Train a model; interrupt it at any time and run the same command to go on."""
    settings = read_config(config)
    _check_device(device)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    model, history = fit_model(
        settings.simulator(),
        architecture=settings.architecture,
        plan=settings.plan if workers is None else replace(settings.plan, workers=workers),
        directory=out,
        device=device,
        progress=True,
        start=load_model(start) if start else None,
    )
    model.card |= {
        "name": settings.name,
        "licence": settings.licence,
        "config": settings.model_dump(mode="json"),
        "versions": {name: metadata.version(name) for name in ("sfhflow", "torch", "zuko", "numpy")},
    }
    with writing(out):
        model.save(out)
    typer.echo(f"{out}: validation log-probability {-min(row['validation'] for row in history):.3f} nats")


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise InputError(
            f"--device is {device!r}, which cannot be used ({reason}), expected cpu, or cuda where there is "
            "such a device; choose cpu"
        ) from error
