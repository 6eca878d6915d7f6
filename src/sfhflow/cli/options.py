"""What several commands share: common options, examples in the help, and a sentence for what cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from safetensors import SafetensorError

from sfhflow.errors import InputError

__all__ = ["ModelOption", "OutOption", "SamplesOption", "SeedOption", "examples", "writing"]

OutOption = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
ModelOption = Annotated[str, typer.Option("--model", help="Name of a shipped model, or a model folder.")]
SamplesOption = Annotated[int, typer.Option("--samples", min=10, help="Posterior samples for each galaxy.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random numbers.")]


def examples(*lines: str) -> str:
    """Return the end of a command's help: examples, one a line."""
    # the first character keeps click from filling the lines up
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot be written ({' '.join(str(error).split())}), expected a place where files can be "
            "made; check --out and its permissions"
        ) from error
