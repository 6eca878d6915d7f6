"""Checkpoints of a training run: one safetensors file that holds everything needed to go on as if unbroken.

Weights, their running average, the moments of the optimizer and the step are written together and atomically
(to a temporary file that is then renamed), so that a run killed at any moment finds a whole checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sfhflow.errors import ModelError

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write modules, optimizer and a JSON-able `state` to `path`."""
    tensors = {f"{name}/{key}": v for name, m in modules.items() for key, v in m.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": torch.as_tensor(v) for key, v in moments.items()}
    temporary = path.with_suffix(".tmp")
    # clones: safetensors refuses tensors that share memory
    save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, temporary, {"state": json.dumps(state)})
    temporary.replace(path)


def load_checkpoint(path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what `save_checkpoint` wrote and return its `state`.

    Raises
    ------
    ModelError
        If the file is damaged, or holds modules of other names or sizes.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            state: dict[str, Any] = json.loads(file.metadata()["state"])
        for name, module in modules.items():
            module.load_state_dict(_under(tensors, f"{name}/"))
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: the checkpoint is damaged or of another configuration ({reason}), expected that of the run "
            "to go on with; choose another folder or remove that file"
        ) from error
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _under(tensors, "optimizer/").items():
        index, name = key.split("/")
        moments.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return state


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
