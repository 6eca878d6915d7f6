"""The command line: files that parse, one sentence for every mistake, and no file that stops the others."""

import io
import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import QTable
from safetensors.torch import load_file

import fake_files as fake
import sfhflow
import toy
from sfhflow import cli
from sfhflow.cli.terminal import complain, judged
from sfhflow.errors import InputError
from sfhflow.examples import example_path
from sfhflow.photometry import log_luminosities
from sfhflow.ssp import load, save

HEADLINE = [*(f"t{10 * k}" for k in range(1, 10)), "mh"]
QUANTILES = ["median", "p16", "p84", "p2_5", "p97_5"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "toy"
    toy.model().save(folder)
    return folder


@pytest.fixture
def spectrum(tmp_path):
    return write_spectrum(tmp_path / "ngc1.txt")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command as the console script does; returns exit code, output and errors."""

    def _run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sfhflow", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return caught.value.code or 0, captured.out, captured.err

    return _run


def write_spectrum(path, row=0):
    data = toy.spectra(row + 1)[row]
    path.parent.mkdir(parents=True, exist_ok=True)
    header = "redshift = 0.05\nresolution = 500\nwavelengths in air\nwavelength flux ivar"
    np.savetxt(path, np.column_stack([data.wavelength, data.flux, data.ivar]), header=header)
    return path


def assert_one_sentence(code, err, *parts):
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("sfhflow: ")
    assert "Traceback" not in err
    for part in parts:
        assert str(part) in err


# --- fit ----------------------------------------------------------------------------------------------------


def test_a_fit_leaves_a_summary_samples_and_a_figure(run, model, spectrum, tmp_path):
    code, out, err = run(
        "fit", spectrum, "--model", model, "--samples", 64, "--seed", 3, "--out", tmp_path / "out"
    )
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ngc1.json", "ngc1.parquet", "ngc1.png"]
    summary = json.loads((tmp_path / "out" / "ngc1.json").read_text())
    for name in HEADLINE:
        assert list(summary[name]) == [*QUANTILES, "unit"]
        assert summary[name]["p2_5"] <= summary[name]["p16"] <= summary[name]["median"] <= summary[name]["p84"]
        assert name in out
    assert summary["mh"]["unit"] == "dex"
    assert set(summary["verdict"]) == {"ok", "reasons", "scores"}
    assert summary["verdict"]["ok"] is (summary["verdict"]["reasons"] == [])
    assert summary["model"] == "toy"
    assert summary["version"] == sfhflow.__version__
    assert Path(summary["input"]).name == "ngc1.txt"
    assert (summary["redshift"], summary["n_samples"], summary["seed"]) == (0.05, 64, 3)
    table = pq.read_table(tmp_path / "out" / "ngc1.parquet")
    assert table.num_rows == 64
    assert set(HEADLINE) <= set(table.column_names)
    assert np.median(table["t50"].to_numpy()) == pytest.approx(summary["t50"]["median"])
    assert (tmp_path / "out" / "ngc1.png").read_bytes().startswith(PNG)


def test_the_command_answers_what_the_package_answers(run, model, spectrum, tmp_path):
    run("fit", spectrum, "--model", model, "--samples", 64, "--seed", 3, "--out", tmp_path)
    posterior = sfhflow.load_model(model).infer(sfhflow.read_spectrum(spectrum), n_samples=64, seed=3)
    table = pq.read_table(tmp_path / "ngc1.parquet")
    np.testing.assert_allclose(table["t50"].to_numpy(), posterior.formation_times[:, 4], rtol=1e-12)
    np.testing.assert_allclose(table["mh"].to_numpy(), posterior.metallicity, rtol=1e-12)


def test_a_distance_changes_the_mass_by_its_square(run, model, tmp_path):
    file = tmp_path / "nearby.ecsv"
    unit = u.erg / u.s / u.cm**2 / u.AA
    # one that has the whole V band
    spectra = [replace(s, flux_unit=str(unit)) for s in toy.spectra(8)]
    spectrum = next(s for s in spectra if np.isfinite(log_luminosities(s)["v"]))
    columns = {"wave": spectrum.wavelength * u.AA, "flux": spectrum.flux * unit, "err": spectrum.error * unit}
    QTable(columns).write(file)
    mass = {}
    options = ["--redshift", 0.05, "--medium", "air", "--model", model, "--samples", 20]
    for distance in (10, 20):
        out = tmp_path / str(distance)
        assert run("fit", file, *options, "--distance", distance, "--out", out)[0] == 0
        summary = json.loads((out / "nearby.json").read_text())
        assert summary["distance_mpc"] == distance
        mass[distance] = summary["log_mass"]["median"]
    assert mass[20] - mass[10] == pytest.approx(np.log10(4))


def test_options_override_the_file(run, model, spectrum, tmp_path):
    options = ["--redshift", 0.06, "--medium", "vacuum", "--fwhm", 12, "--model", model, "--samples", 20]
    assert run("fit", spectrum, *options, "--out", tmp_path)[0] == 0
    assert json.loads((tmp_path / "ngc1.json").read_text())["redshift"] == 0.06


def test_a_broken_file_does_not_stop_the_others(run, model, tmp_path):
    files = [write_spectrum(tmp_path / f"good{row}.txt", row) for row in range(2)]
    broken, far = tmp_path / "broken.txt", tmp_path / "far.txt"
    broken.write_text("# redshift = 0.05, air\n5000 1 what\n")
    far.write_text(files[0].read_text().replace("redshift = 0.05", "redshift = 3.0"))
    listed = [files[0], broken, tmp_path / "missing.txt", far, files[1]]
    code, out, err = run("fit", *listed, "--model", model, "--samples", 20, "--out", tmp_path / "out")
    assert code == 2
    assert "Traceback" not in err
    messages = [line for line in err.splitlines() if "sfhflow: " in line]
    assert len(messages) == 3
    for name, message in zip(("broken.txt", "missing.txt", "far.txt"), messages, strict=True):
        assert Path(name).stem in message
        assert "expected" in message
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {f"good{row}.{kind}" for row in range(2) for kind in ("json", "parquet", "png")}
    assert out.count("written:") == 2


def test_files_of_one_name_do_not_overwrite_each_others_results(run, model, tmp_path):
    files = [write_spectrum(tmp_path / folder / "ngc1.txt") for folder in "ab"]
    code, _, err = run("fit", *files, "--model", model, "--samples", 20, "--out", tmp_path / "out")
    assert_one_sentence(code, err, "ngc1", "--out")
    assert not (tmp_path / "out").exists()


def test_a_known_dispersion_narrows_the_samples_to_it(run, model, spectrum, tmp_path):
    assert run("fit", spectrum, "--model", model, "--samples", 100, "--sigma", 150, "--out", tmp_path)[0] == 0
    sigma = pq.read_table(tmp_path / "ngc1.parquet")["sigma"].to_numpy()
    assert len(sigma) == 100
    assert np.abs(np.log(sigma / 150)).max() < 0.3
    score = json.loads((tmp_path / "ngc1.json").read_text())["verdict"]["scores"]["sigma_conflict"]
    assert score < 1
    # how many samples are kept says nothing about the agreement
    run("fit", spectrum, "--model", model, "--samples", 10, "--sigma", 150, "--out", tmp_path)
    assert json.loads((tmp_path / "ngc1.json").read_text())["verdict"]["scores"]["sigma_conflict"] == score


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--model", "no-such-model"], ("no-such-model", "no model there", "--model")),
        (["--medium", "water"], ("water", "'air' or 'vacuum'")),
        (["--redshift", "nan"], ("redshift", "nan")),
        (["--redshift", "-0.5"], ("redshift", "-0.5")),
        (["--sigma", "-1"], ("sigma", "-1")),
        (["--sigma", "inf"], ("sigma", "inf")),
        (["--resolution", "0"], ("resolution",)),
        (["--resolution", "2000", "--fwhm", "2.5"], ("resolution", "fwhm")),
    ],
)
def test_a_mistaken_option_is_one_sentence(run, model, spectrum, tmp_path, options, parts):
    defaults = [] if "--model" in options else ["--model", model]
    code, _, err = run("fit", spectrum, *defaults, *options, "--samples", 20, "--out", tmp_path)
    assert_one_sentence(code, err, *parts)


def test_results_that_cannot_be_written_are_one_sentence(run, model, spectrum, tmp_path):
    (tmp_path / "taken").write_text("a file")
    code, _, err = run("fit", spectrum, "--model", model, "--samples", 20, "--out", tmp_path / "taken")
    assert_one_sentence(code, err, "taken", "cannot be written")


# --- demo ---------------------------------------------------------------------------------------------------


@pytest.fixture
def example(monkeypatch):
    """Put something else in the place of the distribution that holds the example spectrum."""
    installed = metadata.distribution

    def _replace(locate):
        class Distribution:
            def locate_file(self, _name):
                return locate

        def find(name):
            if name != "ppxf":
                return installed(name)
            if locate is None:
                raise metadata.PackageNotFoundError(name)
            return Distribution()

        monkeypatch.setattr(metadata, "distribution", find)

    return _replace


def test_the_demo_fits_its_spectrum_with_the_shipped_model(run, model, spectrum, tmp_path, monkeypatch, example):
    monkeypatch.setattr("sfhflow.model.shipped_models", lambda: {"default": model})
    example(spectrum)
    code, out, _ = run("demo", "--out", tmp_path / "out")
    assert code == 0
    assert "NGC 3522" in out
    assert json.loads((tmp_path / "out" / "ngc1.json").read_text())["n_samples"] == 1000


def test_the_demo_says_how_to_get_its_spectrum(run, tmp_path, example):
    example(tmp_path / "gone.fits")
    code, _, err = run("demo", "--out", tmp_path)
    assert_one_sentence(code, err, "gone.fits", "pip install --upgrade")
    example(None)
    code, _, err = run("demo", "--out", tmp_path)
    assert_one_sentence(code, err, 'pip install "sfhflow[demo]"')


# --- simulate and train -------------------------------------------------------------------------------------


def test_simulations_are_written_and_their_first_galaxies_do_not_depend_on_the_number(run, tmp_path):
    config = toy.write_config(tmp_path)
    for number in (5, 700):
        code, _, err = run(
            "simulate", config, "-n", number, "--out", tmp_path / f"{number}.safetensors", "--seed", 2
        )
        assert (code, err) == (0, "")
    few, many = (load_file(tmp_path / f"{number}.safetensors") for number in (5, 700))
    assert set(few) == {
        *("flux", "ivar", "lsf_kms", "age_of_universe", "wavelength"),
        *("fractions", "times", "metallicity", "a_v", "sigma_kms"),
    }
    assert few["flux"].shape == (5, toy.GRID.n_pixels)
    np.testing.assert_allclose(few["wavelength"], toy.GRID.wavelength)
    for name in ("flux", "times", "metallicity"):
        assert len(many[name]) == 700
        np.testing.assert_array_equal(many[name][:5], few[name], strict=True)


def test_a_trained_model_is_used_at_once_and_training_it_again_changes_nothing(run, spectrum, tmp_path):
    config = toy.write_config(tmp_path, name="mine")
    out = tmp_path / "model"
    code, text, err = run("train", config, "--out", out)
    assert code == 0, err
    assert "validation log-probability" in text
    card = json.loads((out / "card.json").read_text())
    assert card["name"] == "mine"
    assert card["config"]["noise"]["snr_range"] == [20.0, 200.0]
    assert card["versions"]["sfhflow"] == sfhflow.__version__
    weights = (out / "weights.safetensors").read_bytes()
    assert run("train", config, "--out", out)[:2] == (code, text)
    assert (out / "weights.safetensors").read_bytes() == weights
    assert json.loads((out / "card.json").read_text()) == card
    other = tmp_path / "other"
    assert run("train", config, "--out", other, "--workers", 1)[0] == 0
    assert (other / "weights.safetensors").read_bytes() == weights
    assert run("fit", spectrum, "--model", out, "--samples", 20, "--out", tmp_path / "fit")[0] == 0
    assert json.loads((tmp_path / "fit" / "ngc1.json").read_text())["model"] == "mine"


@pytest.mark.parametrize("command", ["train", "simulate"])
def test_a_mistake_in_the_configuration_is_one_sentence(run, tmp_path, command):
    config = toy.write_config(tmp_path)
    config.write_text(config.read_text().replace("snr_range", "sn_range"))
    code, _, err = run(command, config, "--out", tmp_path / "out")
    assert_one_sentence(code, err, "toy.toml, line 9", "noise.sn_range", "snr_range")
    code, _, err = run(command, tmp_path / "none.toml", "--out", tmp_path / "out")
    assert_one_sentence(code, err, "none.toml", "cannot be read")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_one_sentence(run, tmp_path, device):
    code, _, err = run("train", toy.write_config(tmp_path), "--out", tmp_path / "m", "--device", device)
    assert_one_sentence(code, err, "device", "cpu")


def test_simulations_that_cannot_be_written_are_one_sentence(run, tmp_path):
    config = toy.write_config(tmp_path)
    (tmp_path / "taken").write_text("a file")
    code, _, err = run("simulate", config, "-n", 5, "--out", tmp_path / "taken" / "x.safetensors")
    assert_one_sentence(code, err, "x.safetensors", "cannot be written")
    assert run("simulate", config, "-n", 5, "--out", tmp_path / "new" / "x.safetensors")[0] == 0


# --- output for scripts and for people ----------------------------------------------------------------------


def test_json_is_all_there_is_on_standard_output_one_object_a_spectrum(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [write_spectrum(tmp_path / "in" / f"n{row}.txt", row) for row in range(2)]
    broken = tmp_path / "in" / "broken.txt"
    broken.write_text("# redshift = 0.05, air\n5000 1 what\n")
    options = ["--json", "--model", model, "--samples", 32]
    code, out, err = run("fit", files[0], broken, files[1], *options)
    assert code == 2
    assert "broken.txt" in err
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["name"] for answer in answers] == ["n0", "n1"]
    # nothing is written where nobody asked for files
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert run("fit", files[0], *options, "--out", tmp_path / "out")[1].splitlines() == out.splitlines()[:1]
    written = json.loads((tmp_path / "out" / "n0.json").read_text())
    assert answers[0] == {"name": "n0", **written}


def test_a_file_of_many_spectra_is_fitted_with_a_word_on_what_is_faster(run, model, tmp_path, monkeypatch):
    monkeypatch.setattr("sfhflow.cli.fit._MANY", 2)
    grid = toy.spectra(1)[0].wavelength
    fake.write_manga(tmp_path / "cube.fits", fake.Galaxy(loglam=np.log10(grid)), n_rows=4)
    code, out, err = run("fit", tmp_path / "cube.fits", "--json", "--samples", 20, "--model", model)
    assert (code, len(out.splitlines())) == (0, 4)
    assert err.count("sfhflow survey makes one catalogue") == 1


def test_json_with_reports_writes_them_and_still_prints_only_objects(run, model, spectrum, tmp_path):
    other = write_spectrum(tmp_path / "ngc2.txt", 1)
    options = ["--json", "--report", "--out", tmp_path / "out", "--model", model, "--samples", 32]
    code, out, err = run("fit", spectrum, other, *options)
    assert code == 0, err
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["ngc1", "ngc2"]
    assert (tmp_path / "out" / "index.html").exists()
    assert "index.html" in err


@pytest.mark.parametrize("changes", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_only_where_a_terminal_shows_them(changes, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | changes).items():
        monkeypatch.setenv(name, value)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, terminal)
    verdicts = [judged("table\nVerdict: good", ok=ok) for ok in (True, False)]
    plain = [re.sub(r"\x1b\[\d+m", "", verdict) for verdict in verdicts]
    assert plain == ["table\nVerdict: good"] * 2
    assert re.sub(r"\x1b\[\d+m", "", complain("bad file")) == "sfhflow: bad file"
    # good and bad differ where colours are shown, and only there
    assert (verdicts[0] != verdicts[1]) is not bool(changes)
    assert ("\x1b[" in complain("bad file")) is not bool(changes)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.StringIO())
    assert judged("table\nVerdict: good", ok=True) == "table\nVerdict: good"


def test_the_shell_completes_commands_and_options(monkeypatch):
    """As bash asks: the words so far, and the number of the one that is being typed."""
    script = Path(sys.executable).with_name("sfhflow")
    if not script.exists():
        pytest.skip(f"no script at {script}; install the package to run this test")
    environment = {**os.environ, "_SFHFLOW_COMPLETE": "complete_bash"}
    for words, expected in (("sfhflow sur", "survey"), ("sfhflow fit --reds", "--redshift")):
        asked = environment | {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        done = subprocess.run([script], env=asked, capture_output=True, text=True, timeout=120)
        assert expected in done.stdout.split(), done.stderr


# --- ssp ----------------------------------------------------------------------------------------------------


def test_libraries_are_listed_shown_and_converted(run, tmp_path):
    code, out, _ = run("ssp", "list")
    assert code == 0
    assert "fastar-kroupa: 53 ages x 12 [M/H]" in out
    save(toy.library(), tmp_path / "a.safetensors")
    code, out, _ = run("ssp", "show", tmp_path / "a.safetensors")
    assert code == 0
    for part in ("toy", "12: 0.03 to 14 Gyr", "-2.3, -1.2, -0.4, 0.4", "3800.0 to 6748.0 Angstrom, air", "imf"):
        assert part in out
    code, out, _ = run("ssp", "build", "--source", tmp_path / "a.safetensors", "--out", tmp_path / "b.safetensors")
    assert code == 0
    np.testing.assert_allclose(load(tmp_path / "b.safetensors").flux, toy.library().flux, rtol=1e-3)


def test_an_unknown_library_is_one_sentence(run):
    code, _, err = run("ssp", "show", "no-such-library")
    assert_one_sentence(code, err, "no-such-library", "fastar-kroupa")


# --- the command itself -------------------------------------------------------------------------------------


def test_the_version_is_that_of_the_package(run):
    assert run("--version")[:2] == (0, f"sfhflow {sfhflow.__version__}\n")
    assert metadata.version("sfhflow") == sfhflow.__version__


@pytest.mark.parametrize(
    "command",
    ["fit", "demo", "survey", "serve", "simulate", "train", "ssp list", "ssp show", "ssp build"],
)
def test_every_command_explains_itself_with_examples(run, command):
    assert command.split()[0] in run("--help")[1]
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert "Usage: sfhflow" in out
    assert f"\n    sfhflow {command}" in out.split("Examples:")[1]


def test_a_command_without_its_files_is_a_usage_error(run):
    code, _, err = run("fit")
    assert code == 2
    assert "Traceback" not in err


def test_the_installed_script_ends_a_mistake_with_one_line_and_exit_code_2(tmp_path):
    script = Path(sys.executable).with_name("sfhflow")
    if not script.exists():
        pytest.skip(f"no script at {script}; install the package to run this test")
    done = subprocess.run(
        [script, "fit", "x.txt", "--model", "no-such-model"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert_one_sentence(done.returncode, done.stderr, "no-such-model")
    assert done.stdout == ""


def test_an_answer_takes_less_than_ten_seconds_of_one_core_with_all_imports(tmp_path):
    try:
        path = example_path("NGC3522")
    except InputError as error:
        pytest.skip(str(error))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sfhflow", "fit", str(path), "--out", str(tmp_path)]
    # time of the processor, which does not depend on what else the machine is doing
    ended = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("NGC3522_SDSS_DR18.*"))) == 3
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 10
