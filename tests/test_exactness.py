"""The benchmark of refined answers: its divergence, its summary, and the page that shows it."""

import json
import math

import numpy as np
import pytest
from benchmarks import exactness, exactness_page
from benchmarks.exactness import divergence


def test_the_divergence_of_gaussians_is_that_of_their_densities():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=200_000), 0.7 + rng.normal(size=200_000)
    grid = np.linspace(-8, 9, 20_001)
    p, q = (np.exp(-0.5 * (grid - centre) ** 2) / math.sqrt(2 * math.pi) for centre in (0.0, 0.7))
    m = 0.5 * (p + q)
    exact = 0.5 * np.trapezoid(p * np.log(p / m) + q * np.log(q / m), grid)
    # bins hide a little of it
    assert 0.97 * exact < divergence(x, y) < exact + 1e-3
    assert divergence(x[:100_000], x[100_000:]) < 3 * 24 / (4 * 100_000)


def one_result(nested: float) -> dict:
    """A galaxy of the benchmark."""
    return {
        **{"snr": 30.0, "amortized_efficiency": 0.1, "efficiency": 0.2, "effective": 4000.0, "pareto_k": 0.5},
        **{"evaluation_us": 30.0, "seconds_amortized": 0.01, "seconds_refined": 2.0},
        **{"evaluations": 5000, "log_evidence": 10.0, "nested_log_evidence": 10.0 - nested},
        **{"nested_calls": 50_000.0, "nested_effective": 2000.0, "seconds_nested": 20.0},
        **{name: [0.02] * 10 for name in ("jsd_amortized_refined", "jsd_refined", "jsd_amortized")},
    }


def test_limits_that_do_not_hold_are_said_so():
    found = exactness_page.summary([one_result(0.1)] * 9 + [one_result(0.5)] * 2)
    holds = {label: yes for label, _, _, yes in exactness_page.rows(found)}
    assert list(holds.values()) == [True, True, False, True, True, False]
    assert found["evidence_within"] == pytest.approx(9 / 11, rel=1e-4)
    assert found["nested_given_up"] == 0
    slow = {key: value for key, value in one_result(0.1).items() if "nested" not in key}
    slow = {key: slow[key] for key in slow if key not in ("jsd_refined", "jsd_amortized")} | {
        "nested_finished": False
    }
    some = exactness_page.summary([one_result(0.1)] * 3 + [slow])
    assert (some["galaxies"], some["nested_galaxies"], some["nested_given_up"]) == (4, 3, 1)
    text = exactness_page.text({"weights": "0123abcd", "live": 400, "budget": 20_000, "summary": found})
    assert text.count("**no**") == 2
    assert "**10 times as long as refining**" in text


def test_the_page_shows_the_committed_results():
    page = exactness_page.PAGE.read_text()
    if not exactness_page.RESULTS.exists():
        assert exactness_page.on_page(page, "Not measured yet.\n") == page
        return
    record = json.loads(exactness_page.RESULTS.read_text())
    assert record["summary"] == exactness_page.summary(record["galaxies"])
    assert exactness_page.on_page(page, exactness_page.text(record)) == page


def test_saved_galaxies_of_the_same_settings_are_not_computed_again(tmp_path, monkeypatch):
    path = tmp_path / "exactness.json"
    monkeypatch.setattr(exactness, "RESULTS", path)
    settings = {"weights": "0123abcd", "live": 400}
    assert exactness.saved(settings) == {}
    nested = one_result(0.1) | {"number": 3, "nested_finished": True}
    path.write_text(json.dumps(settings | {"galaxies": [nested, one_result(0.1) | {"number": 4}]}))
    assert exactness.saved(settings) == {3: nested}
    assert exactness.saved(settings | {"weights": "4567cdef"}) == {}
