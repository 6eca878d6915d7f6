"""From a spectrum with errors and gaps to a context vector: one encoder a file, chosen by name.

===================== ==================================================================================
``projection``        likelihood-weighted projection on principal components, then a residual network
``residual``          residual network on the pixels
``spender-attention`` convolutions and attention over wavelength, as SPENDER
``hybrid``            the projection, and a network on the residuals of its fit
===================== ==================================================================================
"""

from __future__ import annotations

from typing import Literal, Protocol

from sfhflow.encoder.attention import AttentionEncoder
from sfhflow.encoder.base import Encoder
from sfhflow.encoder.hybrid import HybridEncoder
from sfhflow.encoder.projection import ProjectionEncoder
from sfhflow.encoder.residual import ResidualEncoder

__all__ = ["ENCODERS", "Encoder", "EncoderName", "ProjectionEncoder"]

EncoderName = Literal["projection", "residual", "spender-attention", "hybrid"]


class _Maker(Protocol):
    def __call__(
        self,
        n_pixels: int,
        *,
        n_components: int,
        width: int,
        depth: int,
        n_context: int,
        error_floor: float,
    ) -> Encoder: ...


ENCODERS: dict[EncoderName, _Maker] = {
    "projection": ProjectionEncoder,
    "residual": ResidualEncoder,
    "spender-attention": AttentionEncoder,
    "hybrid": HybridEncoder,
}
"""The encoders by the name that a configuration gives."""
