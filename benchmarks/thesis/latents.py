"""Stage: what the latent numbers hold (thesis section 4.1, figures 9, 10 and 11).

Pearson's correlation of the latent numbers with one another and with the flux at every wavelength, and a map of
the test galaxies by UMAP (McInnes et al. 2018) coloured by formation times, [M/H] and two line indices.  Where
umap-learn is not installed, the map is of the first two principal components.  How well a map sorts a quantity is
told by the R2 of its mean over the ten nearest neighbours on the map.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.markdown import table
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import NAMES
from benchmarks.thesis.encoder import load_latents
from sfhflow.diagnostics import r2
from sfhflow.indices import measure_indices
from sfhflow.plots import LABELS, correlation_matrix, embedding, flux_correlation
from sfhflow.plots.style import COLUMN_INCHES, new_figure

__all__ = ["run", "section"]

Array = NDArray[np.float64]

LINES = {
    "Ca H, K": 3951.07,
    "Hδ": 4101.73,
    "G": 4300.0,
    "Hγ": 4340.46,
    "Hβ": 4861.32,
    "Mg I": 5175.0,
    "Fe": 5270.0,
    "Na I": 5892.9,
    "Hα": 6562.80,
}
"""Absorption features that are marked, Angstrom in air."""
N_DRAWN = 4
"""Latent numbers whose correlation with the flux is drawn, as in the thesis."""
_INDICES = {"Hbeta_o": r"H$\beta_o$ [Å]", "Mgb": "Mgb [Å]"}
_NEIGHBOURS = 10


def run(context: Context) -> dict[str, Any]:
    """Correlate, map, draw."""
    data, latents = context.dataset("discrete"), load_latents(context)
    rows = latents.test
    values, spectra = latents.values[rows].double(), data.spectra(rows).double()
    among, with_flux = pearson(values, values), pearson(values, spectra)
    correlation_matrix(among.numpy()).figure.savefig(context.figure("latent-correlations"))
    _draw_flux(context, data.wavelength, with_flux.numpy())
    points, method = embed(values.numpy(), context.seed)
    truth = data.truth[rows].double().numpy()
    quantities = {name: truth[:, NAMES.index(name)] for name in ("t10", "t90", "mh")}
    quantities |= measure_indices(data.wavelength, spectra.numpy(), _INDICES)
    _draw_map(context, points, quantities)
    off_diagonal = among[~torch.eye(len(among), dtype=torch.bool)].abs()
    return {
        "n_spectra": len(rows),
        "correlation": among.tolist(),
        "mean_absolute_correlation": off_diagonal.mean().item(),
        "largest_absolute_correlation": off_diagonal.max().item(),
        "strongest_wavelength": data.wavelength[with_flux.abs().argmax(1).numpy()].tolist(),
        "strongest_with_flux": with_flux.abs().amax(1).tolist(),
        "embedding": method,
        "sorted": sorting(points, quantities),
        "sorted_by_all_latents": sorting(_whitened(values.numpy()), quantities),
    }


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    n_latents, n_spectra = len(result["correlation"]), result["n_spectra"]
    place = {"UMAP": "The map is made by UMAP", "PCA": "umap-learn is not installed: the map is of two components"}
    names = list(result["sorted"])
    return [
        f"The {n_latents} latent numbers of {n_spectra:,} test spectra. Their correlations with one another have "
        f"a mean absolute value of {result['mean_absolute_correlation']:.2f} and reach "
        f"{result['largest_absolute_correlation']:.2f}.",
        "",
        "![Correlations of the latent numbers](figures/latent-correlations.png)",
        "",
        f"Correlation of the first {N_DRAWN} with the flux:",
        "",
        "![Correlation of latent numbers with the flux](figures/latent-flux.png)",
        "",
        f"{place[result['embedding']]}. R2 of each quantity from the mean of its {_NEIGHBOURS} nearest neighbours "
        "on the map, and among all latent numbers:",
        "",
        *table(
            ["", *names],
            [
                [title, *(f"{result[key][name]:.2f}" for name in names)]
                for title, key in (("map", "sorted"), ("all latents", "sorted_by_all_latents"))
            ],
        ),
        "",
        "![Map of the latent numbers](figures/latent-map.png)",
    ]


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation coefficients (J, K) of columns of (N, J) with those of (N, K); zero where one is constant."""
    a, b = (x - x.mean(0) for x in (a, b))
    norm = a.norm(dim=0)[:, None] * b.norm(dim=0)
    return torch.where(norm > 0, a.T @ b / norm, 0.0)


def embed(values: Array, seed: int) -> tuple[Array, str]:
    """Places (N, 2) of points (N, K) on a map, and its method: UMAP if it is installed, else PCA."""
    white = _whitened(values)
    if find_spec("umap"):
        umap, threads = import_module("umap"), torch.get_num_threads()
        points = umap.UMAP(random_state=seed, n_jobs=1).fit_transform(white)
        # its compiler changes the number of threads of the whole process
        torch.set_num_threads(threads)
        return np.asarray(points, dtype=float), "UMAP"
    _, _, axes = np.linalg.svd(white, full_matrices=False)
    return white @ axes[:2].T, "PCA"


def sorting(points: Array, quantities: dict[str, Array]) -> dict[str, float]:
    """R2 of each quantity (N,), predicted by the mean of the nearest neighbours among points (N, K)."""
    place = torch.as_tensor(points).float()
    nearest = []
    for first in range(0, len(place), 1024):
        distance = torch.cdist(place[first : first + 1024], place)
        own = torch.arange(len(distance))
        distance[own, first + own] = torch.inf
        nearest.append(distance.topk(_NEIGHBOURS, largest=False).indices)
    index = torch.cat(nearest).numpy()
    return {
        name: float(r2(values[index].mean(1)[:, None], values[:, None])[0]) for name, values in quantities.items()
    }


def _whitened(values: Array) -> Array:
    """Columns of zero mean and unit variance."""
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)


def _draw_flux(context: Context, wavelength: Array, with_flux: Array) -> None:
    figure = new_figure(2 * COLUMN_INCHES, 1.25 * N_DRAWN + 0.4)
    axes = figure.subplots(N_DRAWN, 1, sharex=True)
    for k, ax in enumerate(axes):
        label = f"latent {k + 1}, flux"
        flux_correlation(wavelength, with_flux[k], lines=LINES, names=k == 0, label=label, ax=ax)
        if k < N_DRAWN - 1:
            ax.set_xlabel("")
    figure.savefig(context.figure("latent-flux"), dpi=100)


def _draw_map(context: Context, points: Array, quantities: dict[str, Array]) -> None:
    figure = new_figure(2.2 * COLUMN_INCHES, 4.0)
    axes = figure.subplots(2, 3).flat
    for (name, values), ax in zip(quantities.items(), axes, strict=False):
        embedding(points, values, label=_INDICES.get(name) or LABELS[name], ax=ax)
    list(figure.axes)[5].set_visible(False)
    figure.savefig(context.figure("latent-map"), dpi=100)
