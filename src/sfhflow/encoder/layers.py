"""Layers that the encoders share."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ResidualBlock", "residual_layers"]


class ResidualBlock(nn.Module):
    """x + MLP(LayerNorm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (..., width)."""
        return x + self.layers(x)


def residual_layers(n_inputs: int, width: int, depth: int, n_outputs: int) -> nn.Sequential:
    """Linear layer, `depth` residual blocks of `width`, and a normalised linear layer."""
    return nn.Sequential(
        nn.Linear(n_inputs, width),
        *(ResidualBlock(width) for _ in range(depth)),
        nn.LayerNorm(width),
        nn.Linear(width, n_outputs),
    )
