"""Survey runs: what a row says, where spectra come from, and what makes two runs the same."""

import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

import fake_files
import toy
from sfhflow import cli, load_model, read_spectrum
from sfhflow.derived import all_columns
from sfhflow.errors import InputError
from sfhflow.photometry import log_luminosities
from sfhflow.readers import iter_spectra
from sfhflow.survey import estimate_survey, run_survey, write_packed
from sfhflow.survey.ahead import read_ahead
from sfhflow.survey.folder import locked
from sfhflow.survey.packed import packed_entries
from sfhflow.survey.shards import cut_shards
from sfhflow.survey.sources import Files, Rows, find_sources

N = 20
QUANTILES = {"median": 0.5, "p16": 0.16, "p84": 0.84, "p2_5": 0.025, "p97_5": 0.975}


@pytest.fixture(scope="module")
def spectra():
    # half without a resolution, one with a gap
    galaxies = toy.spectra(N)
    galaxies[3] = galaxies[3].with_mask(np.arange(len(galaxies[3])) < 50)
    return [replace(s, resolution=None) if i % 2 else s for i, s in enumerate(galaxies)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "toy"
    toy.model().save(folder)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory, spectra):
    path = tmp_path_factory.mktemp("packed") / "galaxies.parquet"
    write_packed(spectra, path)
    return path


@pytest.fixture
def survey(model, tmp_path):
    """Run a small survey; returns its summary and its rows."""

    def _survey(*inputs, out="out", **options):
        options = {"model": model, "n_samples": 40, "shard_size": 8, **options}
        summary = run_survey(inputs, tmp_path / out, **options)
        return summary, pq.read_table(tmp_path / out / "results").to_pylist()

    return _survey


def write_text(path, spectrum, *, redshift="redshift = 0.05"):
    columns = np.column_stack([spectrum.wavelength, spectrum.flux, spectrum.ivar])
    np.savetxt(path, columns, header=f"{redshift}\nwavelengths in air\nwavelength flux ivar")
    return path


# --- a row ---


def test_a_row_says_what_a_fit_of_that_spectrum_alone_says(survey, packed, spectra, model):
    summary, rows = survey(packed, seed=3)
    assert (summary.rows, summary.errors, summary.shards) == (N, 0, 3)
    loaded = load_model(model)
    for i in (0, 3, 11):
        alone = loaded.infer(spectra[i], n_samples=40, seed=3)
        row = rows[i]
        for name, (samples, _) in all_columns(alone).items():
            if np.isfinite(samples).all():
                expected = [np.quantile(samples, level) for level in QUANTILES.values()]
                np.testing.assert_allclose([row[f"{name}_{q}"] for q in QUANTILES], expected, rtol=1e-3, atol=1e-3)
        quenched = np.isfinite(all_columns(alone)["t_quench"][0])
        assert row["p_quiescent"] == pytest.approx(quenched.mean(), abs=0.026)
        assert row["verdict_ok"] == alone.verdict.ok
        assert tuple(row["verdict_reasons"]) == alone.verdict.reasons
        for name, score in alone.verdict.scores.items():
            assert row[f"score_{name}"] == pytest.approx(score, rel=1e-3, abs=1e-3)
        assert (row["index"], row["name"], row["redshift"]) == (i, f"toy_{i}", 0.05)
        assert row["snr"] == pytest.approx(spectra[i].snr, rel=1e-6)
        assert row["resolution"] == (None if i % 2 else pytest.approx(500.0))
        assert (row["model"], row["seed"], row["n_samples"], row["error"]) == ("toy", 3, 40, None)


def test_a_catalogue_holds_masses_where_unit_and_distance_are_known(survey, spectra, tmp_path):
    # the toy's spectra end inside the r band, so luminosities are of the V band, of which some lack a part
    with_unit = [replace(s, flux_unit="erg / (s cm2 Angstrom)") for s in spectra]
    whole = [s for s in with_unit if np.isfinite(log_luminosities(s)["v"])]
    known = [*whole[:3], next(s for s in with_unit if s not in whole)]
    known[1] = replace(known[1], distance_mpc=16.5)
    known[2] = replace(known[2], flux_unit="")
    write_packed(known, tmp_path / "units.parquet")
    _, rows = survey(tmp_path / "units.parquet")
    light = [log_luminosities(spectrum)["v"] for spectrum in known]
    assert [row["log_mass_median"] is None for row in rows] == list(np.isnan(light)) == [False, False, True, True]
    for row, log_light in zip(rows[:2], light[:2], strict=True):
        assert row["log_mass_median"] == pytest.approx(log_light + row["log_ml_v_dusty_median"], abs=1e-4)


def test_every_quantity_has_its_unit_in_the_schema(survey, packed, tmp_path):
    survey(packed)
    schema = pq.read_schema(tmp_path / "out" / "results" / "shard-00000.parquet")
    unit = {name: schema.field(name).metadata[b"unit"].decode() for name in schema.names}
    assert unit["t50_median"] == unit["t10_p97_5"] == unit["age_mw_p16"] == unit["quiescent_for_median"] == "Gyr"
    assert (unit["mh_p84"], unit["a_v_median"], unit["sigma_p2_5"]) == ("dex", "mag", "km/s")
    assert unit["log_ssfr_100myr_median"] == "dex(1/yr)"
    assert (unit["log_mass_p16"], unit["log_ml_r_median"]) == ("dex(Msun)", "dex(Msun/Lsun)")
    assert unit["redshift"] == unit["score_bad_fit"] == ""


def test_kept_samples_are_those_the_summary_is_made_of(survey, packed, tmp_path):
    _, rows = survey(packed, keep_samples=True)
    table = pq.read_table(tmp_path / "out" / "samples")
    assert table.schema.field("t50").type == pa.list_(pa.float32())
    assert table.schema.field("sigma").metadata[b"unit"] == b"km/s"
    for row, kept in zip(rows, table.to_pylist(), strict=True):
        assert (row["input"], row["index"]) == (kept["input"], kept["index"])
        for name in ("t50", "mh", "sigma"):
            assert len(kept[name]) == 40
            assert np.quantile(kept[name], 0.16) == pytest.approx(row[f"{name}_p16"], rel=1e-5)


def test_one_bad_spectrum_costs_none_of_the_others_in_its_batch(survey, spectra, tmp_path):
    elsewhere = replace(spectra[1], wavelength=spectra[1].wavelength * 4.0)
    dark = replace(spectra[2], flux=-spectra[2].flux)
    write_packed([spectra[0], elsewhere, dark, *spectra[3:7]], tmp_path / "some.parquet")
    summary, rows = survey(tmp_path / "some.parquet")
    assert summary.errors == 2
    assert [row["index"] for row in rows if row["error"]] == [1, 2]
    assert "usable pixels" in rows[1]["error"]
    assert "mean flux" in rows[2]["error"]
    assert rows[1]["t50_median"] is rows[1]["verdict_ok"] is None
    # what is known of a refused spectrum is kept
    assert rows[1]["redshift"] == 0.05
    write_packed([spectra[0], *spectra[3:7]], tmp_path / "good.parquet")
    _, good = survey(tmp_path / "good.parquet", out="good")
    np.testing.assert_allclose(
        [row["mh_median"] for row in rows if not row["error"]], [row["mh_median"] for row in good], atol=1e-4
    )


# --- the same run ---


def test_two_runs_write_the_same_bytes_and_shards_do_not_change_the_answers(survey, packed, tmp_path):
    first, rows = survey(packed)
    again, _ = survey(packed, out="again")
    assert again.content_hash == first.content_hash
    for path in sorted((tmp_path / "out" / "results").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / "results" / path.name).read_bytes()
    other, cut = survey(packed, out="cut", shard_size=3)
    assert (other.shards, other.rows) == (7, N)
    np.testing.assert_allclose([r["t50_median"] for r in cut], [r["t50_median"] for r in rows], rtol=1e-3)


def test_the_size_of_batches_does_not_change_the_answers(survey, packed, monkeypatch):
    _, rows = survey(packed)
    monkeypatch.setattr("sfhflow.survey.job.BATCH", 3)
    _, small = survey(packed, out="small")
    assert [row["index"] for row in small] == list(range(N))
    np.testing.assert_allclose([r["t50_median"] for r in small], [r["t50_median"] for r in rows], rtol=1e-3)


def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was(survey, packed):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, _ = survey(packed, out="one")
        torch.set_num_threads(2)
        two, _ = survey(packed, out="two")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert one.content_hash == two.content_hash


def test_a_complete_run_is_not_done_again(survey, packed, tmp_path):
    first, _ = survey(packed)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
    again, _ = survey(packed)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_damaged_or_deleted_shard_is_made_again(survey, packed, tmp_path):
    first, _ = survey(packed)
    results = tmp_path / "out" / "results"
    (results / "shard-00001.parquet").write_bytes(b"PAR1 half a file")
    (results / "shard-00002.parquet").unlink()
    again, _ = survey(packed)
    assert again.content_hash == first.content_hash


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"n_samples": 41}, "n_samples was 40 and is 41"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"keep_samples": True}, "keep_samples was False and is True"),
        ({"shard_size": 9}, "shard_size was 8 and is 9"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(survey, packed, changed, found):
    survey(packed)
    with pytest.raises(InputError, match=found):
        survey(packed, **changed)


def test_another_model_other_inputs_and_foreign_shards_are_refused(survey, packed, model, spectra, tmp_path):
    survey(packed)
    toy.model(seed=1).save(tmp_path / "other")
    with pytest.raises(InputError, match="model_fingerprint was"):
        survey(packed, model=tmp_path / "other")
    shutil.copy(packed, tmp_path / "more.parquet")
    with pytest.raises(InputError, match="the inputs differ"):
        survey(packed, tmp_path / "more.parquet")
    survey(tmp_path / "more.parquet", out="foreign")
    shutil.copy(tmp_path / "foreign/results/shard-00001.parquet", tmp_path / "out/results/shard-00001.parquet")
    with pytest.raises(InputError, match="from another run"):
        survey(packed)


def test_two_runs_never_share_a_folder(survey, packed, tmp_path):
    with locked(tmp_path / "out"), pytest.raises(InputError, match="another survey is writing there"):
        survey(packed)
    survey(packed)


def test_the_manifest_tells_what_was_done(survey, packed, tmp_path):
    summary, _ = survey(packed, seed=2)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["inputs"] == [str(packed)]
    assert (manifest["status"], manifest["rows"], manifest["errors"]) == ("complete", N, 0)
    assert manifest["content_hash"] == summary.content_hash
    assert [shard["rows"] for shard in manifest["shards"]] == [8, 8, 4]
    assert manifest["settings"]["seed"] == 2


# --- inputs ---


@pytest.mark.parametrize("suffix", ["parquet", "h5"])
def test_packed_spectra_come_back_as_they_were(spectra, tmp_path, suffix):
    if suffix == "h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"packed.{suffix}"
    originals = [
        *spectra[:5],
        replace(
            spectra[5],
            medium="vacuum",
            redshift=0.3,
            resolution=np.linspace(400, 600, len(spectra[5])),
            flux_unit="erg/s/cm2/A",
            distance_mpc=16.5,
        ),
    ]
    write_packed(originals, path)
    back = list(packed_entries("packed", path, 1, 6))
    assert [entry.index for entry in back] == [1, 2, 3, 4, 5]
    for entry, original in zip(back, originals[1:], strict=True):
        for name in ("wavelength", "flux", "ivar", "mask"):
            np.testing.assert_array_equal(getattr(entry.spectrum, name), getattr(original, name))
        assert (entry.spectrum.resolution is None) == (original.resolution is None)
        if original.resolution is not None:
            np.testing.assert_array_equal(entry.spectrum.resolution, original.resolution)
        for name in ("redshift", "medium", "name", "flux_unit", "distance_mpc"):
            assert getattr(entry.spectrum, name) == getattr(original, name)


def test_a_packed_file_needs_only_four_columns_and_nulls_cost_their_row_alone(survey, spectra, tmp_path):
    columns = {key: [getattr(s, key) for s in spectra[:4]] for key in ("wavelength", "flux", "ivar")}
    columns["ivar"][2] = columns["ivar"][2][:-3]
    table = pa.table({**columns, "redshift": [0.05, None, 0.05, 0.05]})
    pq.write_table(table, tmp_path / "plain.parquet")
    _, rows = survey(tmp_path / "plain.parquet")
    assert [row["name"] for row in rows] == [f"plain_{i}" for i in range(4)]
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert "row 1: redshift is null" in rows[1]["error"]
    assert "ivar has shape" in rows[2]["error"]


def test_hdf5_rows_may_share_a_wavelength_and_the_file_name_a_medium(survey, spectra, tmp_path):
    h5py = pytest.importorskip("h5py")
    same = [replace(s, resolution=500.0) for s in spectra[:6]]
    with h5py.File(tmp_path / "shared.h5", "w") as file:
        file["wavelength"] = same[0].wavelength
        for key in ("flux", "ivar", "mask"):
            file[key] = np.array([getattr(s, key) for s in same])
        file["redshift"], file["resolution"] = np.full(6, 0.05), np.full(6, 500.0)
        file.attrs["medium"] = "air"
    _, rows = survey(tmp_path / "shared.h5")
    write_packed(same, tmp_path / "full.parquet")
    _, expected = survey(tmp_path / "full.parquet", out="full")
    assert [r["t50_median"] for r in rows] == [r["t50_median"] for r in expected]


def test_a_folder_gives_each_spectrum_once_and_a_bad_file_is_a_row_with_its_error(survey, spectra, tmp_path):
    folder = tmp_path / "data" / "deep"
    folder.mkdir(parents=True)
    for i in (2, 0, 1):
        write_text(tmp_path / "data" / f"g{i}.txt", spectra[i])
    write_packed(spectra[3:6], folder / "packed.parquet")
    (folder / "broken.fits").write_bytes(b"SIMPLE  =  nothing")
    (folder / "damaged.parquet").write_bytes(b"PAR1 nothing")
    # neither companions, nor hidden files, nor other kinds, nor a table that may list its neighbours
    for name in ("redrock-1.fits", ".hidden.fits", "notes.md"):
        (folder / name).write_bytes(b"nothing")
    pq.write_table(pa.table({"file": ["../g0.txt"]}), folder / "list.parquet")
    pattern = str(tmp_path / "data" / "g*.txt")
    summary, rows = survey(tmp_path / "data", pattern, tmp_path / "data" / "g1.txt", out="data/out")
    names = [(Path(row["input"]).name, row["index"], bool(row["error"])) for row in rows]
    assert names == [
        *((f"g{i}.txt", 0, False) for i in range(3)),
        ("broken.fits", None, True),
        ("damaged.parquet", None, True),
        *(("packed.parquet", i, False) for i in range(3)),
    ]
    assert summary.errors == 2
    # the results inside the folder do not become inputs
    assert survey(tmp_path / "data", pattern, out="data/out")[0] == summary


def test_links_to_nowhere_odd_names_and_failing_readers_are_rows_with_their_error(
    survey, spectra, tmp_path, monkeypatch
):
    folder = tmp_path / "data"
    folder.mkdir()
    write_text(folder / os.fsdecode(b"a\xff.txt"), spectra[0])
    (folder / "b.fits").symlink_to(tmp_path / "gone.fits")
    (folder / "loop").symlink_to(folder)
    for name in ("c.txt", "d.txt"):
        write_text(folder / name, spectra[1])

    def failing(path, **options):
        if path.name == "c.txt":
            raise ZeroDivisionError("a fault of a reader")
        return iter_spectra(path, **options)

    monkeypatch.setattr("sfhflow.survey.entries.iter_spectra", failing)
    _, rows = survey(folder)
    assert [Path(row["input"]).name for row in rows] == ["a?.txt", "b.fits", "c.txt", "d.txt"]
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert "no such file" in rows[1]["error"]
    assert "c.txt: reading it failed (ZeroDivisionError: a fault of a reader)" in rows[2]["error"]


def test_a_cell_of_the_wrong_kind_costs_its_row_alone(survey, spectra, tmp_path):
    write_text(tmp_path / "g.txt", spectra[0])
    lines = [
        "file,index,z",
        "g.txt,0,0.05",
        "g.txt,zero,0.05",
        "g.txt,0.5,0.05",
        "g.txt,,far",
        ",0,0.05",
        "g.txt,,0.05",
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    _, rows = survey(tmp_path / "list.csv")
    assert [row["error"] is None for row in rows] == [True, False, False, False, False, True]
    assert "list.csv, row 1: a cell has the wrong kind of value" in rows[1]["error"]
    assert "row 4: file is empty" in rows[4]["error"]


def test_a_file_of_many_spectra_gives_a_row_for_each(survey, tmp_path):
    ids = fake_files.write_desi(tmp_path / "coadd-1.fits", (0.01, 0.02, 0.03))
    fake_files.write_redrock(tmp_path / "redrock-1.fits", ids, (0.01, 0.02, 0.03))
    _, rows = survey(tmp_path)
    assert [(row["index"], row["name"], row["redshift"]) for row in rows] == [
        (i, f"coadd-1_{i}", pytest.approx(0.01 * (i + 1))) for i in range(3)
    ]


@pytest.mark.parametrize("kind", ["parquet", "fits", "ecsv", "csv"])
def test_a_table_chooses_spectra_and_overrides_what_files_say(survey, spectra, tmp_path, kind):
    ids = fake_files.write_desi(tmp_path / "coadd-1.fits", (0.01, 0.02, 0.03))
    write_text(tmp_path / "g.txt", spectra[0], redshift="")
    table = Table(
        {
            "FILE": ["coadd-1.fits", "coadd-1.fits", "coadd-1.fits", "g.txt", "gone.txt"],
            "Index": np.ma.array([2, 0, 9, 0, 0], mask=[0, 1, 0, 1, 1]),
            "TARGETID": np.ma.array([0, ids[1], 0, 0, 0], mask=[1, 0, 1, 1, 1]),
            "Z": [0.033, 0.022, 0.04, 0.055, 0.1],
        }
    )
    path = tmp_path / f"list.{kind}"
    if kind == "parquet":
        columns = {name: table[name].tolist() for name in table.colnames}
        pq.write_table(pa.table(columns), path)
    else:
        table.write(path, format="ascii.ecsv" if kind == "ecsv" else kind)
    _, rows = survey(path, shard_size=2)
    assert [row["input"] for row in rows] == table["FILE"].tolist()
    assert [(row["index"], row["redshift"]) for row in rows] == [
        (2, 0.033),
        (1, 0.022),
        (9, None),
        (0, 0.055),
        (None, None),
    ]
    assert "no spectrum with index 9" in rows[2]["error"]
    assert "no such file" in rows[4]["error"]
    alone = read_spectrum(tmp_path / "coadd-1.fits", index=2, redshift=0.033)
    assert rows[0]["snr"] == pytest.approx(alone.snr, rel=1e-6)


def test_a_row_without_index_stands_for_all_spectra_of_its_file_at_its_redshift(survey, tmp_path):
    fake_files.write_desi(tmp_path / "coadd-1.fits", (0.01, 0.02, 0.03))
    Table({"file": ["coadd-1.fits"], "redshift": [0.05], "resolution": [2000.0]}).write(tmp_path / "list.csv")
    _, rows = survey(tmp_path / "list.csv")
    assert [(row["index"], row["redshift"], row["resolution"]) for row in rows] == [
        (i, 0.05, 2000.0) for i in range(3)
    ]


def test_neighbouring_rows_of_a_file_are_read_in_one_go(monkeypatch, tmp_path, survey):
    fake_files.write_desi(tmp_path / "coadd-1.fits", (0.01,) * 6)
    table = Table({"file": ["coadd-1.fits"] * 6, "index": range(6), "redshift": np.linspace(0.01, 0.06, 6)})
    table.write(tmp_path / "list.csv")
    opened = []

    def counting(path, **options):
        opened.append(path)
        return iter_spectra(path, **options)

    monkeypatch.setattr("sfhflow.survey.listed.iter_spectra", counting)
    _, rows = survey(tmp_path / "list.csv")
    assert [row["redshift"] for row in rows] == pytest.approx(np.linspace(0.01, 0.06, 6))
    assert len(opened) == 1


@pytest.mark.parametrize("name", ["nothing.fits", "*.fits", "empty"])
def test_inputs_that_hold_nothing_are_refused(survey, tmp_path, monkeypatch, name):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected"):
        survey(name)
    assert not (tmp_path / "out").exists()


def test_a_packed_file_that_lacks_a_column_is_refused_when_named(survey, tmp_path):
    pq.write_table(pa.table({"wavelength": [[1.0]], "flux": [[1.0]]}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="no 'ivar'"):
        survey(tmp_path / "bad.parquet")


# --- the plan ---


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.integers(0, 200), max_size=30),
    rows=st.integers(0, 50),
    size=st.integers(1, 12),
    max_bytes=st.integers(1, 500),
)
def test_shards_hold_every_unit_once_and_in_order_within_their_limits(files, rows, size, max_bytes):
    sources = [
        Files("", tuple(f"a{i}" for i in range(len(files))), tuple(files)),
        Rows("", "table", 0, rows, 1, is_packed=False),
        Files("", tuple(f"b{i}" for i in range(len(files))), tuple(files)),
    ]
    plan = cut_shards(sources, size=size, max_bytes=max_bytes)
    units = [(s, i) for cut in plan.cuts for s, start, stop in cut for i in range(start, stop)]
    assert units == [(s, i) for s, source in enumerate(sources) for i in range(len(source))]
    for number in range(len(plan)):
        assert 0 < plan.units(number) <= size
        sizes = [n for part in plan.parts(number) for n in part.sizes()]
        # it is the last file that makes a shard complete
        assert sum(sizes[:-1]) < max_bytes or sizes[-1] == 0
    assert sum(len(part) for n in range(len(plan)) for part in plan.parts(n)) == len(units)


def test_planning_opens_no_file_of_a_folder(tmp_path, monkeypatch):
    for i in range(5):
        (tmp_path / f"g{i}.fits").write_bytes(b"x" * 100 * i)
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail("a file was opened"))
    plan = cut_shards(find_sources([str(tmp_path)]), size=2)
    assert [plan.units(i) for i in range(len(plan))] == [2, 2, 1]


def test_the_plan_changes_with_the_inputs_alone(tmp_path):
    for i in range(3):
        (tmp_path / f"g{i}.txt").write_text("x")
    first = cut_shards(find_sources([str(tmp_path)]), size=2).fingerprint()
    assert cut_shards(find_sources([str(tmp_path)]), size=1).fingerprint() == first
    (tmp_path / "g1.txt").write_text("longer")
    assert cut_shards(find_sources([str(tmp_path)]), size=2).fingerprint() != first


def test_reading_ahead_keeps_order_passes_errors_on_and_is_bounded():
    made = []

    def numbers():
        for i in range(10):
            made.append(i)
            yield i
        raise OSError("the end")

    ahead = read_ahead(numbers(), depth=2)
    seen = [next(ahead)]
    time.sleep(0.1)
    # the one in hand, and two ahead
    assert made == [0, 1, 2]
    with pytest.raises(OSError, match="the end"):
        seen.extend(ahead)
    assert seen == made == list(range(10))
    before = threading.active_count()
    stopped = read_ahead(iter(range(100)))
    next(stopped)
    stopped.close()
    assert threading.active_count() <= before


# --- estimates and the command ---


def test_an_estimate_counts_the_spectra_and_follows_its_formula(model, packed, spectra, tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(3):
        write_text(tmp_path / "data" / f"g{i}.txt", spectra[i])
    fake_files.write_desi(tmp_path / "coadd-1.fits", (0.01,) * 30)
    before = sorted(tmp_path.rglob("*"))
    estimate = estimate_survey([packed, tmp_path / "data"], model=model, n_samples=20, shard_size=10)
    assert estimate.spectra == N + 3
    assert estimate.hours(7200, workers=2) == pytest.approx(max(estimate.reading_s, estimate.inference_s))
    assert estimate.gigabytes(1e6) == pytest.approx((1e6 * estimate.row_bytes + 1e5 * estimate.file_bytes) / 1e9)
    assert sorted(tmp_path.rglob("*")) == before
    fake_files.write_redrock(tmp_path / "redrock-1.fits", 39_633_345_008_634_465 + np.arange(30), (0.01,) * 30)
    assert estimate_survey([tmp_path / "coadd-1.fits"], model=model, n_samples=20).spectra == 30


def test_the_estimated_size_is_that_of_the_results(survey, packed, model, tmp_path):
    survey(packed, shard_size=N)
    written = (tmp_path / "out" / "results" / "shard-00000.parquet").stat().st_size
    estimate = estimate_survey([packed], model=model, n_samples=40, shard_size=N)
    assert 1e9 * estimate.gigabytes(N) == pytest.approx(written, rel=0.05)


def test_the_command_runs_plans_and_refuses(monkeypatch, capsys, packed, model, tmp_path):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sfhflow", "survey", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, *capsys.readouterr()

    out = tmp_path / "out"
    base = (packed, "--out", out, "--model", model, "--samples", 20)
    code, text, _ = run(*base, "--plan")
    assert code == 0
    assert "a million" in text
    assert not out.exists()
    code, text, err = run(*base, "--shard-size", 8)
    assert code == 0
    assert f"{N} spectra: 0 could not be used" in text
    assert "spectrum/s" in err
    code, _, err = run(*base, "--shard-size", 9)
    assert code == 2
    assert "shard_size was 8 and is 9" in err.splitlines()[-1]
    code, _, err = run(*base, "--workers", 2, "--scheduler", "tcp://x:1")
    assert code == 2
    assert "drop one" in err


def test_dask_is_needed_for_a_cluster_alone_and_its_absence_names_the_extra(survey, packed, monkeypatch):
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    assert survey(packed)[0].rows == N
    with pytest.raises(InputError, match=r'pip install "sfhflow\[dask\]"'):
        survey(packed, out="cluster", workers=2)
