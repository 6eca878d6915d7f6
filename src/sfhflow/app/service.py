"""What the web page can ask for, in plain Python: read, fit, compare, download."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from sfhflow import html
from sfhflow.app.fields import FitSettings, in_words, stated
from sfhflow.app.store import Fitted, Store
from sfhflow.app.uploads import read_upload
from sfhflow.curves import Predictive
from sfhflow.errors import InputError
from sfhflow.examples import example_path
from sfhflow.html import Part
from sfhflow.model import Model
from sfhflow.plots import summary_figure
from sfhflow.posterior import Posterior
from sfhflow.predict import predictor
from sfhflow.prior import Prior
from sfhflow.prior_samples import prior_of
from sfhflow.report import file_stem, write_json, write_parquet
from sfhflow.reweight import reweighted
from sfhflow.spectrum import Spectrum

__all__ = ["DOWNLOADS", "Service"]

DOWNLOADS = {
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "png": "image/png",
    "html": "text/html",
}
"""Files that can be taken away, with their types."""

_MAX_COMPARED = 12
# another prior takes weights, which leave a part of the samples effective
_OVERSAMPLING, _MOST_WEIGHTED = 10, 50_000


class Service:
    """A model and the spectra that were given to it.

    Parameters
    ----------
    model : Model
        What fits.
    version : str
        Version of the software.
    predict : callable, optional
        Predicts spectra from a posterior; by default `sfhflow.predict.predictor` of the model.
    prior : Prior, optional
        What the model was trained with; by default what its card tells, once that is needed.
    """

    def __init__(
        self,
        model: Model,
        *,
        version: str,
        predict: Callable[[Posterior], Predictive | None] | None = None,
        prior: Prior | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.store = Store()
        self._prior = prior
        self._predict = predictor(model) if predict is None else predict
        # one computation at a time: each takes all cores for a fraction of a second, and figures share state
        self._working = Lock()

    def add(self, data: bytes, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Read an upload and keep its spectra; returns their keys and names, and problems as sentences.

        Raises
        ------
        InputError
            If there is no usable spectrum, or a field makes no sense.
        """
        spectra, problems = read_upload(data, name, stated(fields))
        return {"spectra": [self._kept(s) for s in spectra], "problems": [in_words(p) for p in problems]}

    def add_example(self, name: str) -> dict[str, Any]:
        """Read an example; as `add`."""
        path = example_path(name)
        return self.add(path.read_bytes(), path.name, {})

    def fit(self, key: str, settings: FitSettings) -> Part:
        """Fit a spectrum and return what there is to see.

        Raises
        ------
        InputError
            If the key is unknown, the settings make the spectrum unusable, or the prior leaves next to no samples.
        """
        entry = self.store.get(key)
        spectrum = settings.apply(entry.spectrum)
        with self._working:
            posterior = self._inferred(spectrum, settings)
            fitted = Fitted(posterior, self._predict(posterior))
            part = html.result(fitted.posterior, fitted.predictive, version=self.version)
        self.store.put(key, replace(entry, fitted=fitted))
        return part

    def compare(self, keys: Sequence[str]) -> Part:
        """Show the last fits of several spectra side by side.

        Raises
        ------
        InputError
            If there are fewer than two or too many, or one is unknown.
        """
        if not 2 <= len(keys) <= _MAX_COMPARED:
            raise InputError(
                f"found {len(keys)} spectra to compare, expected 2 to {_MAX_COMPARED}; add or remove some"
            )
        posteriors = [self.store.fitted(key).posterior for key in keys]
        with self._working:
            return html.comparison(posteriors)

    def download(self, key: str, kind: str) -> tuple[str, bytes]:
        """Return name and content of a file with the last fit; `kind` is one of `DOWNLOADS`.

        Raises
        ------
        InputError
            If the key or the kind is unknown.
        """
        if kind not in DOWNLOADS:
            raise InputError(f"download {kind!r} is unknown, expected one of {', '.join(DOWNLOADS)}")
        fitted = self.store.fitted(key)
        with self._working:
            return f"{file_stem(fitted.posterior)}.{kind}", self._file(fitted, kind)

    def _inferred(self, spectrum: Spectrum, settings: FitSettings) -> Posterior:
        n, seed, new = settings.n_samples, settings.seed, settings.prior
        drawn = n if new is None else max(n, min(n * _OVERSAMPLING, _MOST_WEIGHTED))
        posterior = self.model.infer(spectrum, n_samples=drawn, seed=seed, mask_lines=settings.mask_lines)
        if new is None:
            return posterior
        old = prior_of(self.model) if self._prior is None else self._prior
        return reweighted(posterior, new, old, n_samples=n, seed=seed).posterior

    def _kept(self, spectrum: Spectrum) -> dict[str, str]:
        return {"key": self.store.add(spectrum), "name": spectrum.name}

    def _file(self, fitted: Fitted, kind: str) -> bytes:
        posterior, predictive = fitted.posterior, fitted.predictive
        if kind == "html":
            return html.report_page(posterior, predictive, version=self.version).encode()
        if kind == "png":
            buffer = io.BytesIO()
            summary_figure(posterior, predictive).savefig(buffer, format="png")
            return buffer.getvalue()
        with TemporaryDirectory(prefix="sfhflow-") as folder:
            path = Path(folder) / "result"
            write = write_json if kind == "json" else write_parquet
            write(posterior, path, version=self.version)
            return path.read_bytes()
