"""Broken files on the command line: a sentence each, exit code 2, and the good file among them is fitted."""

import pytest

import fake_cubes as cubes
import fake_files as fake
import test_cli
from broken_layouts import directory
from broken_values import BREAKERS

# the fixtures of the command line's own tests
run, model = test_cli.run, test_cli.model

# answered where it is called, not by reading: options of read_spectrum, and files of several spectra
NOT_ON_THE_COMMAND_LINE = {"several spectra", "word as redshift option"}
# the superuser may read every file
UNREADABLE = {"file without permission"}
BROKEN = [
    name
    for name, (_, _, options) in BREAKERS.items()
    if not options and name not in NOT_ON_THE_COMMAND_LINE | UNREADABLE
]


@pytest.fixture
def spectrum(tmp_path):
    return test_cli.write_spectrum(tmp_path / "good.txt")


def broken(folder, name):
    path = folder / f"{name.replace(' ', '_')}.fits"
    BREAKERS[name][0](path, fake.Galaxy())
    return path


def test_all_broken_files_at_once_leave_the_good_one_among_them_fitted(run, model, spectrum, tmp_path):
    files = [broken(tmp_path, name) for name in BROKEN]
    files.insert(len(files) // 2, spectrum)
    code, out, err = run("fit", *files, "--model", model, "--samples", 20, "--out", tmp_path / "out")
    assert code == 2
    assert "Traceback" not in err + out
    for path in files:
        told = [line for line in err.splitlines() if line.startswith("sfhflow: ") and path.name in line]
        assert len(told) == (path != spectrum), path.name
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.json", "good.parquet", "good.png"}


@pytest.mark.parametrize(
    "name",
    ["truncated in the table", "all pixels masked", "nanometres without unit", "gzip of garbage", "one pixel"],
)
def test_one_broken_file_is_one_sentence_and_no_result(run, model, tmp_path, name):
    path = broken(tmp_path, name)
    code, _, err = run("fit", path, "--model", model, "--out", tmp_path / "out")
    test_cli.assert_one_sentence(code, err, path.name)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_all_spectra_of_a_cube_is_said_once(run, model, tmp_path):
    spaxels = [(y, x) for y in range(2) for x in range(3)]
    cubes.write_muse(tmp_path / "cube.fits", cubes.linear_galaxy(), spaxels, primary={})
    code, _, err = run("fit", tmp_path / "cube.fits", "--model", model, "--out", tmp_path / "out")
    assert code == 2
    first, last = [line for line in err.splitlines() if line.startswith("sfhflow: ")]
    assert "spectrum 0" in first
    assert "--redshift" in first
    assert "the same for 5 more" in last


def test_a_folder_is_refused_by_name(run, model, tmp_path):
    directory(tmp_path / "spectra", None)
    code, _, err = run("fit", tmp_path / "spectra", "--model", model, "--out", tmp_path / "out")
    test_cli.assert_one_sentence(code, err, "spectra", "name the files inside it")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--resolution", 2.5], "give a width in Angstrom with --fwhm"),
        (["--resolution", 2000, "--fwhm", 2.5], "drop one"),
        (["--medium", "vaccum"], "--medium"),
        (["--redshift", 12], "expected between -0.01 and 10"),
        (["--ebv", -1], "divide A_V by 3.1"),
    ],
)
def test_a_senseless_option_is_one_sentence(run, model, spectrum, tmp_path, options, part):
    code, _, err = run("fit", spectrum, *options, "--model", model, "--out", tmp_path / "out")
    test_cli.assert_one_sentence(code, err, part)


def test_the_dust_of_the_milky_way_is_removed_on_request(run, model, spectrum, tmp_path):
    for ebv in (0, 0.3):
        out = tmp_path / f"out{ebv}"
        assert run("fit", spectrum, "--ebv", ebv, "--model", model, "--samples", 20, "--out", out)[0] == 0
    assert (tmp_path / "out0" / "good.parquet").read_bytes() != (tmp_path / "out0.3" / "good.parquet").read_bytes()
