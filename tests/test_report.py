"""Output files: their layout, that they agree with the samples, and that they appear whole or not at all."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from sfhflow import report
from sfhflow.cosmology import age_of_universe
from sfhflow.derived import all_columns
from sfhflow.errors import InputError
from sfhflow.parameters import FRACTIONS
from sfhflow.posterior import Posterior
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import Verdict

REDSHIFT = 0.05
QUANTILES = {"median": 50, "p16": 16, "p84": 84, "p2_5": 2.5, "p97_5": 97.5}
VERSION = "1.2.3"


@pytest.fixture
def posterior():
    rng = np.random.default_rng(3)
    n, age = 400, age_of_universe(REDSHIFT)
    times = age * np.cumsum(rng.dirichlet(np.full(len(FRACTIONS) + 1, 1.0), n), axis=1)[:, :-1]
    wavelength = np.linspace(4000.0, 7000.0, 500)
    flux = 1 + 0.1 * rng.normal(size=500)
    mask = np.arange(500) < 100
    resolution = np.where(mask, 500.0, 2000.0)
    spectrum = Spectrum(
        wavelength, flux, np.full(500, 100.0), REDSHIFT, mask, resolution, name="ngc1", meta={"file": "ngc1.fits"}
    )
    verdict = Verdict(ok=False, reasons=("bad_fit", "made_up"), scores={"bad_fit": 3.5, "made_up": np.nan})
    mh, a_v, sigma = rng.normal(0, 0.1, n), rng.exponential(0.1, n), rng.normal(200, 5, n)
    return Posterior(times, mh, a_v, sigma, age, spectrum, verdict, 7, "default")


@pytest.fixture
def growing(posterior):
    """The same, but three quarters of the samples form stars to the end and have no time since quenching."""
    times = posterior.times.copy()
    times[:300] = 1.0 + (posterior.age_of_universe - 1.001) * np.array(FRACTIONS)
    times[300:] = 1.0 + np.linspace(0.1, 8.0, 100)[:, None] * np.array(FRACTIONS)
    return replace(posterior, times=times)


def test_the_json_summary_begins_with_the_formation_times_and_the_metallicity(posterior, tmp_path):
    report.write_json(posterior, tmp_path / "a.json", version=VERSION)
    summary = json.loads((tmp_path / "a.json").read_text())
    assert list(summary)[:10] == [*(f"t{p}" for p in range(10, 100, 10)), "mh"]
    assert set(all_columns(posterior)) <= set(summary)
    assert set(summary["t50"]) == {*QUANTILES, "unit"}


def test_the_json_quantiles_are_those_of_the_samples(posterior):
    summary = report.summary_dict(posterior, version=VERSION)
    for name in ("t10", "mh", "sigma", "log_ssfr_1gyr", "age_mw"):
        samples, unit = all_columns(posterior)[name]
        assert summary[name]["unit"] == unit
        for key, percent in QUANTILES.items():
            assert summary[name][key] == pytest.approx(np.percentile(samples, percent))


def test_the_json_summary_says_where_it_comes_from(posterior):
    summary = report.summary_dict(posterior, version=VERSION)
    expected = {
        "model": "default",
        "version": VERSION,
        "input": "ngc1.fits",
        "redshift": REDSHIFT,
        "n_samples": 400,
        "seed": 7,
        "resolution": 2000.0,  # of the unmasked pixels
        "notes": [],
    }
    assert {key: summary[key] for key in expected} == expected
    assert summary["snr"] == pytest.approx(10, rel=0.05)


def test_scores_that_are_not_numbers_become_null(posterior, tmp_path):
    report.write_json(posterior, tmp_path / "a.json", version=VERSION)

    def refuse(token):
        raise AssertionError(token)

    summary = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    expected = {"ok": False, "reasons": ["bad_fit", "made_up"], "scores": {"bad_fit": 3.5, "made_up": None}}
    assert summary["verdict"] == expected


def test_quantiles_that_fall_among_undefined_samples_are_null(growing):
    quiescent = report.summary_dict(growing, version=VERSION)["quiescent_for"]
    assert quiescent["median"] is None
    assert quiescent["p16"] is None
    # 84 % of all samples lie below the 36th of the 100 defined ones
    defined = np.sort(all_columns(growing)["quiescent_for"][0][300:])
    assert quiescent["p84"] == pytest.approx(defined[36])


def test_the_quenching_time_of_a_galaxy_that_may_still_form_stars_has_no_upper_end(growing):
    summary = report.summary_dict(growing, version=VERSION)
    # three quarters of the samples quench later than now
    assert summary["p_quiescent"] == 0.25
    assert summary["t_quench"]["median"] is None
    assert summary["t_quench"]["p84"] is None
    when = np.sort(all_columns(growing)["t_quench"][0])
    assert summary["t_quench"]["p16"] == pytest.approx(when[64])


def test_an_unknown_resolution_is_said_to_be_marginalised(posterior):
    blind = replace(posterior, spectrum=replace(posterior.spectrum, resolution=None))
    summary = report.summary_dict(blind, version=VERSION)
    assert summary["resolution"] == "unknown"
    assert "marginalised" in summary["notes"][0]
    assert "marginalised" in report.text_table(blind)
    assert "marginalised" not in report.text_table(posterior)


def test_the_parquet_file_gives_back_the_samples_their_units_and_their_origin(growing, tmp_path):
    report.write_parquet(growing, tmp_path / "a.parquet", version=VERSION)
    table = pq.read_table(tmp_path / "a.parquet")
    for name, (samples, unit) in all_columns(growing).items():
        column = table.column(name)
        np.testing.assert_array_equal(column.to_numpy(), samples)
        assert column.null_count == np.isnan(samples).sum()
        assert table.schema.field(name).metadata[b"unit"].decode() == unit
    origin = json.loads(table.schema.metadata[b"sfhflow"])
    assert origin["version"] == VERSION
    assert origin["verdict"]["reasons"] == ["bad_fit", "made_up"]


def test_the_text_table_is_aligned_and_gives_the_verdict_in_words(posterior):
    text = report.text_table(posterior)
    rows = [line for line in text.splitlines() if line.startswith(("t10 ", "mh ", "log_ssfr_100myr "))]
    assert len(rows) == 3
    assert len({row.rindex(unit) for row, unit in zip(rows, ("Gyr", "dex", "dex("), strict=True)}) == 1
    assert f"{np.median(posterior.times[:, 1]):.2f}" in rows[0]
    assert "no mix of stellar populations" in text
    assert "made_up" in text  # a reason without a sentence keeps its name
    trusted = replace(posterior, verdict=Verdict(ok=True, reasons=(), scores={}))
    assert "DO NOT TRUST" not in report.text_table(trusted)


def test_three_files_are_named_after_the_spectrum_and_nothing_else_is_left(posterior, tmp_path):
    paths = report.write_outputs(posterior, tmp_path / "new" / "folder", version=VERSION)
    assert [path.name for path in paths] == ["ngc1.json", "ngc1.parquet", "ngc1.png"]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    assert json.loads(paths[0].read_text())["version"] == VERSION


def test_a_name_with_dots_is_kept_and_one_with_slashes_cannot_leave_the_folder(posterior, tmp_path):
    def written(name):
        renamed = replace(posterior, spectrum=replace(posterior.spectrum, name=name))
        return report.write_outputs(renamed, tmp_path, version=VERSION)[0]

    assert written("v1.2_x").name == "v1.2_x.json"
    assert written("../x").parent == tmp_path


def test_a_failure_half_way_keeps_the_old_file_and_leaves_no_trace(posterior, tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    report.write_parquet(posterior, path, version="old")

    def fail(writer, table, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be written \(No space left on device\)"):
        report.write_parquet(posterior, path, version="new")
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(pq.read_schema(path).metadata[b"sfhflow"])["version"] == "old"


def test_an_output_folder_that_is_a_file_is_refused(posterior, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        report.write_outputs(posterior, tmp_path / "file", version=VERSION)
