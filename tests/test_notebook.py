"""What a notebook shows: numbers that agree with the samples, well-formed and harmless whatever the names."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import toy
from sfhflow.notebook import history_svg
from sfhflow.parameters import FRACTIONS
from sfhflow.verdict import Verdict


@pytest.fixture(scope="module")
def posterior():
    return toy.model().infer(toy.spectra(1)[0], n_samples=200)


def elements(markup, kind):
    # the SVG inside a page names its namespace, a page does not
    return [element for element in ElementTree.fromstring(markup).iter() if element.tag.endswith(kind)]


def test_the_table_is_that_of_the_samples(posterior):
    cells = [[cell.text for cell in row] for row in elements(posterior._repr_html_(), "tr")][1:]
    table = {name: values for name, *values in cells}
    assert {"t10", "t50", "t90", "mh", "a_v", "sigma"} <= set(table)
    low, middle, high = np.quantile(posterior.metallicity, [0.16, 0.5, 0.84])
    assert table["mh"][:2] == [f"{middle:.2f}", f"{low:.2f} ... {high:.2f}"]
    assert table["mh"][3] == "dex"


def test_the_drawing_places_the_median_times_on_its_axes(posterior):
    age = posterior.age_of_universe
    drawing = history_svg(posterior.times, age)
    line = elements(drawing, "polyline")[0].attrib["points"]
    x, y = np.array([[float(v) for v in point.split(",")] for point in line.split()]).T
    # the frame is the axes: left is the Big Bang, right the time of observation, bottom no mass, top all of it
    rect = elements(drawing, "rect")[0].attrib
    frame = {key: float(rect[key]) for key in ("x", "y", "width", "height")}
    times = age * (x - frame["x"]) / frame["width"]
    np.testing.assert_allclose(times, np.median(posterior.times, axis=0), atol=0.01 * age)
    np.testing.assert_allclose(1 - (y - frame["y"]) / frame["height"], FRACTIONS, atol=0.01)


def test_names_are_text_and_the_verdict_is_said(posterior):
    spectrum = replace(posterior.spectrum, name="<script>alert(1)</script>")
    bad = replace(posterior, spectrum=spectrum, verdict=Verdict(ok=False, reasons=("bad_fit",), scores={}))
    markup = bad._repr_html_()
    assert elements(markup, "script") == []
    assert bad.verdict.text in "".join(ElementTree.fromstring(markup).itertext())
    colours = [
        elements(shown._repr_html_(), "span")[0].attrib["style"]
        for shown in (bad, replace(bad, verdict=Verdict(ok=True, reasons=(), scores={})))
    ]
    assert colours[0] != colours[1]
