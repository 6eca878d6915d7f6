"""The networks of a model under one roof: encoder (spectrum -> context) and flow (context -> density).

`Architecture` holds everything needed to rebuild them before their weights are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sfhflow.encoder import ENCODERS, EncoderName
from sfhflow.flow import FLOWS, FlowName
from sfhflow.observation import Observation

__all__ = ["Architecture", "Network"]


@dataclass(frozen=True)
class Architecture:
    """Kinds and sizes of the networks; everything needed to rebuild them before their weights are loaded.

    Attributes
    ----------
    encoder : str
        What makes the context of a spectrum: a name of `sfhflow.encoder.ENCODERS`.
    flow : str
        The density given the context: a name of `sfhflow.flow.FLOWS`.
    n_components, error_floor : int, float
        Of the projection on principal components, see `sfhflow.projection.Projector`.
    width, depth, n_context : int
        Of the encoder's network, see its class.
    components, transforms, hidden, bins
        Of the flow.
    """

    encoder: EncoderName = "projection"
    flow: FlowName = "coupling"
    n_components: int = 80
    width: int = 256
    depth: int = 4
    n_context: int = 128
    error_floor: float = 0.006
    components: int = 16
    transforms: int = 2
    hidden: tuple[int, ...] = (64, 64)
    bins: int = 8


class Network(nn.Module):
    """Encoder and flow under one roof."""

    def __init__(self, architecture: Architecture, n_pixels: int, n_features: int) -> None:
        super().__init__()
        self.encoder = ENCODERS[architecture.encoder](
            n_pixels,
            n_components=architecture.n_components,
            width=architecture.width,
            depth=architecture.depth,
            n_context=architecture.n_context,
            error_floor=architecture.error_floor,
        )
        self.flow = FLOWS[architecture.flow](
            n_features,
            architecture.n_context,
            components=architecture.components,
            transforms=architecture.transforms,
            hidden=tuple(architecture.hidden),
            bins=architecture.bins,
        )

    def log_prob(self, u: Tensor, observation: Observation) -> Tensor:
        """Log posterior density (N,) of unbounded coordinates (N, D)."""
        return self.flow.log_prob(u, self.encoder(observation))
