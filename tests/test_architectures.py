"""The comparison of architectures: the same galaxies and the same time for all, and a table that says so."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from benchmarks import architectures
from benchmarks.architectures import CANDIDATES, Comparison, Setting, compare, markdown, on_page, summary

import toy
from sfhflow.network import Architecture

SIZES = {key: value for key, value in asdict(toy.ARCHITECTURE).items() if key not in ("encoder", "flow")}
TWO = {"projection": SIZES, "residual": {**SIZES, "encoder": "residual"}}
PLAN = toy.plan(reuse=2, memory=2, n_components_sample=512, n_thresholds=64)


def setting(minutes=0.01):
    return Setting(toy.simulator(), PLAN, minutes, n_test=256, n_sampled=2)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return work, compare(setting(), TWO, work)


def test_the_candidates_are_enough_encoders_and_flows_and_can_be_built():
    built = [Architecture(**changes) for changes in CANDIDATES.values()]
    first = built[0]
    assert first == Architecture()
    assert len({one.encoder for one in built if one.flow == first.flow}) >= 3
    assert len({one.flow for one in built if one.encoder == first.encoder}) >= 2
    assert len(set(built)) == len(built)


def test_all_train_for_about_the_same_time_and_are_measured_on_the_same_galaxies(compared):
    work, results = compared
    times = [result["cpu_minutes"] for result in results.values()]
    assert max(times) < 3 * min(times)
    kept = [json.loads((work / f"{name}.json").read_text()) for name in TWO]
    assert kept[0]["snr"] == kept[1]["snr"]
    assert len(kept[0]["log_prob"]) == len(kept[1]["log_prob"]) == 256
    assert kept[0]["log_prob"] != kept[1]["log_prob"]


def test_more_time_is_more_steps():
    comparison = Comparison(setting(0.004)), Comparison(setting(0.02))
    short, long = (one.result(Architecture(**SIZES))["steps"] for one in comparison)
    # five times, but for the noise of a clock under load
    assert 2 < long / short < 12


def test_a_finished_candidate_is_not_trained_again_unless_the_setting_changed(compared, monkeypatch):
    work, results = compared

    def no_training(self, architecture):
        raise AssertionError(architecture)

    monkeypatch.setattr(Comparison, "result", no_training)
    assert compare(setting(), TWO, work) == results
    with pytest.raises(AssertionError):
        compare(setting(0.02), TWO, work)
    with pytest.raises(AssertionError):
        compare(replace(setting(), plan=replace(PLAN, learning_rate=1.0)), TWO, work)


def test_bins_and_paired_differences_are_what_they_say():
    rng = np.random.default_rng(0)
    snr = rng.uniform(3, 300, 400)
    one = rng.normal(size=400)
    two = one + 0.5 + 0.1 * rng.normal(size=400)
    made = summary({"a": {"log_prob": one, "snr": snr, "key": {}}, "b": {"log_prob": two, "snr": snr, "key": {}}})
    assert made["b"]["gain"] == pytest.approx(np.mean(two - one))
    assert made["b"]["gain_error"] == pytest.approx(np.std(two - one, ddof=1) / 20)
    inside = (snr >= 30) & (snr < 100)
    assert made["a"]["log_prob"]["S/N 30-100"] == pytest.approx(one[inside].mean())
    assert made["a"]["n"] == {
        "all": 400,
        **{
            f"S/N {a}-{b}": int(np.sum((snr >= a) & (snr < b)))
            for a, b in ((3, 10), (10, 30), (30, 100), (100, 300))
        },
    }
    assert made["a"]["gain"] == 0


def test_the_table_has_a_row_for_each_candidate(compared):
    text = markdown({"minutes": 0.01, "candidates": compared[1]})
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(TWO)
    assert len({row.count("|") for row in rows}) == 1
    assert "| residual |" in rows[3]
    assert f"{compared[1]['residual']['gain']:+.2f}" in rows[3]
    assert "--minutes 0.01" in text


def test_the_table_is_put_between_its_marks():
    begin, end = architectures.MARKS
    assert on_page(f"a\n{begin}\nold\n{end}\nb\n", "new\n") == f"a\n{begin}\n\nnew\n\n{end}\nb\n"


def test_the_page_shows_the_committed_results():
    if not architectures.RESULTS.exists():
        pytest.skip("the comparison has not been run: python -m benchmarks.architectures")
    page = architectures.PAGE.read_text()
    record = json.loads(architectures.RESULTS.read_text())
    assert on_page(page, markdown(record)) == page
