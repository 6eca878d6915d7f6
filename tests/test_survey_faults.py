"""Survey runs that are killed, that run out of disk, and that are done by others: the results are the same."""

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from benchmarks.speed import faults

import toy
from sfhflow import parquet
from sfhflow.errors import InputError
from sfhflow.survey import run_survey, write_packed

N, SHARD = 24, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "toy"
    toy.model().save(folder)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Spectra in a file, two of which the model refuses."""
    galaxies = toy.spectra(N)
    for i in (4, 17):
        galaxies[i] = replace(galaxies[i], flux=-galaxies[i].flux)
    path = tmp_path_factory.mktemp("packed") / "galaxies.parquet"
    write_packed(galaxies, path)
    return path


@pytest.fixture(scope="module")
def options(model):
    return {"model": model, "n_samples": 30, "shard_size": SHARD, "keep_samples": True}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, packed, options):
    """Summary of a run that nothing disturbed."""
    summary = run_survey([packed], tmp_path_factory.mktemp("whole"), **options)
    assert (summary.rows, summary.errors, summary.shards) == (N, 2, N // SHARD)
    return summary


@pytest.fixture(scope="module")
def processes():
    """Start processes that have the package imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sfhflow.survey"])
    return context


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_complete(folder, summary, whole):
    assert summary.content_hash == whole.content_hash
    assert files(folder) == files(whole.folder)
    for kind in ("results", "samples"):
        for path in (folder / kind).iterdir():
            assert path.read_bytes() == (whole.folder / kind / path.name).read_bytes()


def run_until_killed(packed, folder, options, syncs):
    """Run, and be killed when a file is about to be made safe for the time `syncs`."""
    if syncs is not None:
        to_disk, left = parquet._to_disk, [syncs]

        def fatal(path):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            to_disk(path)

        parquet._to_disk = fatal
    run_survey([packed], folder, **options)


@pytest.mark.parametrize("syncs", [1, 2, 3, 4, 13, 34])
def test_a_run_killed_while_it_writes_leaves_whole_files_and_goes_on_from_there(
    processes, packed, options, whole, tmp_path, syncs
):
    # two for each file: the manifest, then samples and results of each shard, then the manifest again
    child = processes.Process(target=run_until_killed, args=(packed, tmp_path, options, syncs))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    if syncs % 2:
        # killed before the file had its name
        assert len([path for path in files(tmp_path) if path.endswith(".tmp")]) == 1
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*.parquet")}
    for path in done:
        assert pq.read_metadata(path).num_rows == SHARD
    assert_complete(tmp_path, run_survey([packed], tmp_path, **options), whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_run_killed_again_and_again_at_random_moments_ends_as_if_nothing_had_happened(
    processes, packed, options, whole, tmp_path
):
    moments = random.Random(1)
    killed = 0
    for _ in range(6):
        child = processes.Process(target=run_until_killed, args=(packed, tmp_path, options, None))
        child.start()
        child.join(moments.uniform(0.05, 1.2))
        if child.exitcode is None:
            child.kill()
            killed += 1
        child.join(120)
    assert killed > 0
    assert_complete(tmp_path, run_survey([packed], tmp_path, **options), whole)


@contextmanager
def largest_file(n_bytes):
    """Let the system refuse to write more than this into a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_refuses_to_write_is_named_and_the_run_goes_on_later(packed, options, whole, tmp_path):
    message = r"shard-00000\.parquet: cannot be written \(.*free space \(what is done is kept"
    with largest_file(2_000), pytest.raises(InputError, match=message):
        run_survey([packed], tmp_path, **options)
    assert files(tmp_path) == ["manifest.json"]
    assert_complete(tmp_path, run_survey([packed], tmp_path, **options), whole)


def test_a_disk_that_fills_up_half_way_keeps_what_is_done(packed, options, whole, tmp_path, monkeypatch):
    to_disk, calls = parquet._to_disk, []

    def full(path):
        calls.append(path)
        if len(calls) > 10:
            raise OSError(28, "No space left on device")
        to_disk(path)

    monkeypatch.setattr(parquet, "_to_disk", full)
    with pytest.raises(InputError, match="No space left on device"):
        run_survey([packed], tmp_path, **options)
    monkeypatch.undo()
    assert files(tmp_path) == [
        "manifest.json",
        *(f"{kind}/shard-0000{i}.parquet" for kind in ("results", "samples") for i in range(2)),
    ]
    assert_complete(tmp_path, run_survey([packed], tmp_path, **options), whole)


def test_a_file_that_becomes_unreadable_costs_its_own_rows_alone(packed, options, tmp_path):
    copy = tmp_path / "copy.parquet"
    content = bytearray(packed.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    copy.write_bytes(content)
    summary = run_survey([copy, packed], tmp_path / "out", **options)
    rows = pq.read_table(tmp_path / "out" / "results").to_pylist()
    assert sum(row["input"] == str(packed) and row["error"] is None for row in rows) == N - 2
    assert any(row["input"] == str(copy) and "cannot be read as Parquet" in (row["error"] or "") for row in rows)
    assert summary.errors == sum(row["error"] is not None for row in rows)


def test_a_folder_that_cannot_be_made_is_refused(packed, options, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        run_survey([packed], tmp_path / "file", **options)


def test_a_scheduler_that_is_not_there_is_named(packed, options, tmp_path):
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    quick = dask.config.set({"distributed.comm.timeouts.connect": "500ms"})
    with quick, pytest.raises(InputError, match="no Dask scheduler"):
        run_survey([packed], tmp_path, scheduler="tcp://127.0.0.1:9", **options)


@pytest.mark.slow
def test_local_workers_write_the_same_bytes(packed, options, whole, tmp_path):
    pytest.importorskip("distributed")
    assert_complete(tmp_path, run_survey([packed], tmp_path, workers=2, **options), whole)


@pytest.mark.slow
def test_the_death_of_a_worker_changes_nothing(packed, options, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))

        def kill_once_it_is_at_work():
            while not list(tmp_path.glob("results/shard-*.parquet")):
                time.sleep(0.005)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill_once_it_is_at_work, daemon=True)
        killer.start()
        summary = run_survey([packed], tmp_path, scheduler=cluster.scheduler_address, **options)
        killer.join(60)
        assert not killer.is_alive()
    assert_complete(tmp_path, summary, whole)


def survey_command(packed, folder, model):
    """The command line of a run with two workers and a spectrum a shard."""
    options = ["--model", str(model), "--samples", "30", "--shard-size", "1", "--keep-samples", "--workers", "2"]
    start = "import sys; from sfhflow.cli import main; sys.exit(main())"
    return [sys.executable, "-c", start, "survey", str(packed), *options, "--out", str(folder)]


@pytest.fixture(scope="module")
def single_shards(tmp_path_factory, packed, options):
    """Summary of an undisturbed run with a spectrum a shard."""
    return run_survey([packed], tmp_path_factory.mktemp("single"), **{**options, "shard_size": 1})


@pytest.mark.slow
def test_a_run_killed_as_a_whole_and_then_a_worker_of_it_end_with_the_same_files(
    packed, model, single_shards, tmp_path
):
    pytest.importorskip("distributed")
    arguments = survey_command(packed, tmp_path, model)[4:-2]
    killed = faults.killed_again_and_again(arguments, tmp_path, kills=2, seed=2, within_s=0.05)
    assert killed == {"runs_killed": 1, "workers_killed": 1}
    facts = faults.facts_of_run(tmp_path)
    assert (facts["rows"], facts["distinct_rows"], facts["errors"]) == (N, N, 2)
    assert facts["unfinished_files"] == 0
    assert facts["content_hash"] == single_shards.content_hash
    assert files(tmp_path) == files(single_shards.folder)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_workers_in_one_sentence_and_costs_nothing_else(
    packed, model, single_shards, tmp_path
):
    pytest.importorskip("distributed")
    command = survey_command(packed, tmp_path, model)
    refused = subprocess.run(
        command,
        # larger than the files of the samples, smaller than those of the results
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert refused.returncode == 2, refused.stderr
    assert "cannot be written (" in refused.stderr
    assert "File too large" in refused.stderr
    assert "what is done is kept" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.rglob("*.tmp")) == []
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert single_shards.content_hash[:16] in done.stdout
    assert files(tmp_path) == files(single_shards.folder)


def test_one_damaged_file_in_a_thousand_is_one_row_with_an_error(model, tmp_path):
    damaged = faults.write_files_with_a_bad_one(toy.spectra(20), 1000, tmp_path / "files")
    run_survey([tmp_path / "files"], tmp_path / "out", model=model, n_samples=5)
    table = pq.read_table(tmp_path / "out" / "results").to_pylist()
    assert len(table) == len({row["input"] for row in table}) == 1000
    errors = [row for row in table if row["error"] is not None]
    assert [os.path.basename(row["input"]) for row in errors] == [damaged]
    assert damaged in errors[0]["error"]
    assert all(row["t50_median"] is not None for row in table if row["error"] is None)
