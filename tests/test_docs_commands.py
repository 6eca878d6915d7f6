"""Every command of the README, the documentation and the help runs, on stand-ins for the files it names.

Commands in code cells are left out: building the documentation runs those.  What needs other machines is recorded
and run here: workers and schedulers of a survey, the SSP generator, and the server, which would run for ever.
"""

import glob
import io
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

import toy
from sfhflow import cli, survey
from sfhflow.certificate import Sizes
from sfhflow.cli import demo, fit, serve, simulate, train, verify
from sfhflow.cli import survey as survey_command
from sfhflow.config import read_config
from sfhflow.ssp import save
from test_docs import DOCS, PAGES, SHELL, blocks, commands

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not part of this installation")

HELP = [line for module in (fit, demo, survey_command, serve, simulate, train, verify) for line in module.EXAMPLES]


def shell_only(text):
    return "".join(f"```\n{body}```\n" for kind, body in blocks(text) if kind in SHELL)


def every_command():
    texts = [shell_only(page.read_text()) for page in PAGES] + [f"```\n{line}\n```\n" for line in HELP]
    return sorted({tuple(words) for text in texts for words in commands(text)})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The toy, with the configuration of its simulator, so that it can be verified."""
    folder = tmp_path_factory.mktemp("shipped") / "default"
    trained = toy.model()
    trained.card["config"] = read_config(toy.write_config(folder.parent)).model_dump(mode="json")
    trained.save(folder)
    return folder


def write_spectrum(path, words):
    """A spectrum that says what the command does not say about it."""
    data = toy.spectra(1)[0]
    said = {"--redshift": "redshift = 0.05", "--medium": "wavelengths in air", "--resolution": "resolution = 500"}
    header = [text for flag, text in said.items() if flag not in words]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.column_stack([data.wavelength, data.flux, data.ivar])
    np.savetxt(path, columns, header="\n".join([*header, "wavelength flux ivar"]))


def write_miles(folder):
    folder.mkdir(parents=True)
    for age in (0.03, 1.0, 12.5):
        for mh in ("m1.26", "p0.06"):
            hdu = fits.PrimaryHDU(np.full(1000, age, dtype=np.float32))
            hdu.header["CRVAL1"], hdu.header["CDELT1"], hdu.header["CRPIX1"] = 3464.9, 0.9, 1
            hdu.writeto(folder / f"Iku1.30Z{mh}T{age:07.4f}_iTp0.00_baseFe.fits")


def write_ppxf(path):
    grid = toy.library()
    axes = {"lam": grid.wavelength, "ages": grid.ages_gyr, "metals": grid.metallicities}
    np.savez(path, templates=np.moveaxis(grid.flux, -1, 0), fwhm=2.5, masses=np.ones(grid.shape[:2]), **axes)


def make(name, words, model):
    """Put a file or folder of that name where a command expects it."""
    path = Path(name)
    if name in ("--model", "--out") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if name in ("mymodel", "smooth"):
        path.symlink_to(model)
    elif name == "path/to/MILES/folder":
        write_miles(path)
    elif path.suffix == ".npz":
        write_ppxf(path)
    elif path.suffix == ".safetensors":
        save(toy.library(), path)
    elif path.suffix == ".toml":
        toy.write_config(path.parent).rename(path)
    elif path.suffix == ".parquet":
        survey.write_packed(toy.spectra(2), path)
    elif name.startswith("spectra"):
        for stem in ("spec-1", "spec-2"):
            write_spectrum(Path(f"spectra/{'a/' if 'survey' in words else ''}{stem}.fits"), words)
    elif path.suffix in (".fits", ".txt"):
        write_spectrum(path, words)


def expected_files(words):
    """What a command says it leaves behind."""
    if "--out" in words:
        return [words[words.index("--out") + 1]]
    return {
        "fit": [] if "--json" in words else ["sfhflow-results"],
        "demo": ["sfhflow-demo"],
        "verify": ["sfhflow-certificate"],
    }.get(words[1], [])


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_the_command_runs(words, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("sfhflow.model", "sfhflow.cli.verify"):
        monkeypatch.setattr(f"{place}.shipped_models", lambda: {"default": model})
    for size in ("FULL", "QUICK"):
        monkeypatch.setattr(f"sfhflow.cli.verify.{size}", Sizes(512, 512, 512, n_samples=19))
    monkeypatch.setattr("sfhflow.cli.ssp.fastar.build", lambda _imf, progress: toy.library())
    asked = {}

    class Corrector:
        """Instead of the true likelihood, which knows no toy; `test_exact` tests it."""

        def refine(self, posterior, *, n_samples=None):
            asked["refined"] = posterior.spectrum.name
            return posterior

    monkeypatch.setattr("sfhflow.cli.fit.refiner", lambda _model: Corrector())

    def here(inputs, out, *, workers, scheduler, **options):
        asked.update(workers=workers, scheduler=scheduler)
        return survey.run_survey(inputs, out, **options)

    monkeypatch.setattr("sfhflow.cli.survey.run_survey", here)
    monkeypatch.setattr("sfhflow.cli.serve.serve_page", lambda service, **address: asked.update(address))
    if words[1] == "demo":
        pytest.importorskip("ppxf", reason="the example spectra come with ppxf")
    created = [words[words.index("--out") + 1]] if "--out" in words else []
    for name in words[2:]:
        if name not in created:
            make(name, words, model)
    arguments = [
        part for word in words for part in (glob.glob(word) if "*" in word and "fit" in words else [word])
    ]
    printed = io.StringIO()
    monkeypatch.setattr(sys, "argv", arguments)
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        cli.main()
    if "cuda" in words and not torch.cuda.is_available():
        assert ended.value.code == 2
        return
    assert not ended.value.code, shlex.join(arguments)
    assert all(Path(name).exists() for name in expected_files(words) if "--plan" not in words)
    assert printed.getvalue() or words[1] == "serve"
    assert ("refined" in asked) == ("--refine" in words)
    if "--workers" in words:
        assert asked["workers"] == 8
    if words[1] == "serve":
        assert asked["port"] == (0 if "0" in words else 8765)
