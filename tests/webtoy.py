"""The toy world as files and pages: a spectrum as text, a service, and the figures of a page as numbers."""

import base64
import gzip
from html.parser import HTMLParser

import numpy as np

import toy
from sfhflow.app import Service
from sfhflow.galaxy import StellarPopulations
from sfhflow.predict import predict

STATED = ("# redshift = 0.05", "# wavelengths in air", "# resolution = 500")


def text_spectrum(spectrum, *, stated=STATED):
    """A spectrum as the bytes of a text file, with comments that state what is known of it."""
    columns = (spectrum.wavelength, spectrum.flux, spectrum.error)
    rows = zip(*(c[~spectrum.mask] for c in columns), strict=True)
    lines = [*stated, *(f"{w:.6f} {f:.8g} {e:.8g}" for w, f, e in rows)]
    return "\n".join(lines).encode() + b"\n"


def predictor(model):
    """As `sfhflow.predict.predictor`, for the toy's library, which has no name."""
    populations = StellarPopulations(toy.library(), model.grid, tolerance=1e-3)
    return lambda posterior: predict(posterior, populations, library_fwhm=model.library_fwhm)


def service():
    """The untrained toy model behind a page."""
    model = toy.model()
    return Service(model, version="1.2.3", predict=predictor(model), prior=toy.simulator().prior)


def nodes(item, name):
    """All objects of one kind in the JSON of a figure, each as its attributes."""
    if isinstance(item, dict):
        if item.get("name") == name:
            yield item.get("attributes", {})
        item = list(item.values())
    if isinstance(item, list):
        for value in item:
            yield from nodes(value, name)


def columns(item):
    """Columns of all sources of data in the JSON of a figure, as arrays."""
    return [
        {name: array for name, value in source["data"].get("entries", []) if (array := decode(value)) is not None}
        for source in nodes(item, "ColumnDataSource")
    ]


def ticks(item, axis_label):
    """Places on the axis of that label and what is written there."""
    axis = next(axis for axis in nodes(item, "LinearAxis") if axis.get("axis_label") == axis_label)
    return dict(axis["major_label_overrides"]["entries"])


def decode(value):
    """An array of the JSON of a figure, or None."""
    if not (isinstance(value, dict) and value.get("type") == "ndarray"):
        return None
    data = base64.b64decode(value["array"]["data"])
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return np.frombuffer(data, value["dtype"]).reshape(value["shape"])


class Page(HTMLParser):
    """What a browser finds in a page: its elements with their attributes, their text, and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.texts = [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.texts.append(data)

    @property
    def words(self):
        """All text that is seen."""
        return " ".join(" ".join(self.texts).split())

    def attributes(self, tag):
        """Attributes of every element of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]
