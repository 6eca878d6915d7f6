"""Conditional densities of the unbounded parameters: one flow a file, chosen by name.

============ ===========================================================================
``coupling`` a mixture of Gaussians bent by coupling splines: as fast to sample as to train
``maf``      masked autoregressive flow: affine, slow to sample
============ ===========================================================================
"""

from __future__ import annotations

from typing import Literal, Protocol

from sfhflow.flow.autoregressive import AutoregressiveFlow
from sfhflow.flow.base import Flow
from sfhflow.flow.coupling import ConditionalFlow

__all__ = ["FLOWS", "AutoregressiveFlow", "ConditionalFlow", "Flow", "FlowName"]

FlowName = Literal["coupling", "maf"]


class _Maker(Protocol):
    def __call__(
        self,
        n_features: int,
        n_context: int,
        *,
        components: int,
        transforms: int,
        hidden: tuple[int, ...],
        bins: int,
    ) -> Flow: ...


def _autoregressive(
    n_features: int, n_context: int, *, components: int, transforms: int, hidden: tuple[int, ...], bins: int
) -> Flow:
    """A masked autoregressive flow of one Gaussian; it is affine and has no bins."""
    return AutoregressiveFlow(n_features, n_context, transforms=transforms, hidden=hidden)


FLOWS: dict[FlowName, _Maker] = {"coupling": ConditionalFlow, "maf": _autoregressive}
"""The flows by the name that a configuration gives."""
