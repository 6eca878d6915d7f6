r"""A critic: likelihood ratios of faults, learned from simulated ones.

A classifier trained to tell spectra with fault *k* from clean ones, in equal numbers, converges to the logarithm
of their likelihood ratio (e.g. Cranmer, Pavez & Louppe 2015, arXiv:1506.02169),

.. math:: \ell_k(x) = \ln p(x | \mathrm{fault}\ k) - \ln p(x | \mathrm{clean}),

which is the most powerful test there is (Neyman & Pearson 1933).  It sees what the posterior sees: the inputs of
the encoder's network, that is the principal components' estimates, errors and goodness of fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfhflow.verdict.faults import FAULTS

__all__ = ["Critic", "train_critic"]

_WIDTHS = (96, 48)
_LARGEST_RATIO = 60.0


class Critic(nn.Module):
    """Log likelihood ratios of all `FAULTS`.

    Parameters
    ----------
    n_features : int
        Inputs, those of the encoder's network after scaling.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        first, second = _WIDTHS
        self.network = nn.Sequential(
            nn.Linear(n_features, first),
            nn.SiLU(),
            nn.Linear(first, second),
            nn.SiLU(),
            nn.Linear(second, len(FAULTS)),
        )

    @classmethod
    def of_state(cls, state: dict[str, Tensor]) -> Critic:
        """Make the critic of which `state_dict` gave the state."""
        critic = cls(state["network.0.weight"].shape[1])
        critic.load_state_dict(state)
        return critic.eval().requires_grad_(requires_grad=False)

    def forward(self, scaled: Tensor) -> Tensor:
        """Log likelihood ratios (N, F) in nats of scaled features (N, n_features)."""
        return self.network(scaled).clamp(-_LARGEST_RATIO, _LARGEST_RATIO)


def train_critic(
    clean: Tensor, faulty: Tensor, *, epochs: int = 15, batch_size: int = 512, seed: int = 0
) -> Critic:
    """Train a critic.

    Parameters
    ----------
    clean : Tensor of shape (N, n_features)
        Scaled features of clean spectra.
    faulty : Tensor of shape (F, N, n_features)
        The same spectra with each of `FAULTS`.
    epochs, batch_size, seed : int
        Schedule.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(clean.shape[-1])
    steps = epochs * -(-len(clean) // batch_size)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    softplus = nn.functional.softplus
    for _ in range(epochs):
        for rows in torch.randperm(len(clean), generator=generator).split(batch_size):
            found = torch.diagonal(critic(faulty[:, rows]), dim1=0, dim2=2)
            loss = softplus(critic(clean[rows])).mean() + softplus(-found).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return critic.eval().requires_grad_(requires_grad=False)
