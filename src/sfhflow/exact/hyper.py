"""Amplitudes of the nuisances: each on a grid of its own, with the weights of its prior.

A node is one index for each axis.  The likelihood is a sum over nodes; `explore` finds those that matter by
climbing to the best node and flooding its surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Node", "explore", "log_uniform", "normal", "uniform"]

Node = tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """Values of one amplitude, shape (K,), and the logarithm of their prior probabilities."""

    values: NDArray[np.float64]
    log_weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


def uniform(low: float, high: float, n: int) -> Axis:
    """Centres of `n` equal cells."""
    if low == high:
        return Axis(np.array([low]), np.zeros(1))
    edges = np.linspace(low, high, n + 1)
    return Axis(0.5 * (edges[1:] + edges[:-1]), np.full(n, -math.log(n)))


def log_uniform(low: float, high: float, n: int) -> Axis:
    """Centres of `n` cells that are equal in the logarithm."""
    axis = uniform(math.log(low), math.log(high), n)
    return Axis(np.exp(axis.values), axis.log_weights)


def normal(rms: float, n: int, reach: float = 3.0) -> Axis:
    """`n` nodes between plus and minus `reach` standard deviations of a normal distribution."""
    if rms == 0:
        return Axis(np.zeros(1), np.zeros(1))
    z = np.linspace(-reach, reach, n)
    weights = np.exp(-0.5 * z**2)
    return Axis(rms * z, np.log(weights / weights.sum()))


def explore(
    score: Callable[[Node], float], axes: Sequence[Axis], *, start: Node, depth: float, max_nodes: int
) -> dict[Node, float]:
    """Scores of the nodes that matter.

    The best node that has not been expanded is expanded (its neighbours are scored), until all nodes within
    `depth` of the best have been, or `max_nodes` are scored.

    Parameters
    ----------
    score : callable
        Log posterior weight of a node.
    axes : sequence of Axis
        The grid.
    start : Node
        Where to begin.
    depth : float
        Difference of scores (nats) beyond which a node does not matter.
    max_nodes : int
        Largest number of scores to compute.
    """
    scores = {start: score(start)}
    expanded: set[Node] = set()
    while len(scores) < max_nodes:
        waiting = [node for node in scores if node not in expanded]
        best = max(waiting, key=scores.__getitem__, default=None)
        if best is None or scores[best] < max(scores.values()) - depth:
            break
        expanded.add(best)
        for node in _neighbours(best, axes):
            if node not in scores:
                scores[node] = score(node)
    return scores


def _neighbours(node: Node, axes: Sequence[Axis]) -> list[Node]:
    steps = [(i, index + step) for i, index in enumerate(node) for step in (-1, 1)]
    return [(*node[:i], index, *node[i + 1 :]) for i, index in steps if 0 <= index < len(axes[i])]
