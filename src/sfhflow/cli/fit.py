"""`sfhflow fit`: spectra in; a summary, samples and a figure out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from sfhflow import html
from sfhflow.cli.options import ModelOption, SamplesOption, SeedOption
from sfhflow.cli.terminal import Complaints, judged
from sfhflow.errors import InputError, SpectrumError
from sfhflow.model import Model, load_model
from sfhflow.posterior import Posterior, Refines
from sfhflow.predict import predictor
from sfhflow.readers import iter_spectra, stem
from sfhflow.refine import refiner
from sfhflow.report import json_line, text_table, write_outputs
from sfhflow.spectrum import Spectrum

__all__ = ["EXAMPLES", "fit"]

_FOLDER = "sfhflow-results"

# each leaves three files, and its figure takes as long as a hundred fits
_MANY = 100
_ADVICE = "sfhflow survey makes one catalogue of them, much faster"

# samples drawn for each one that is kept when a velocity dispersion is given, as if at least this many were kept:
# the verdict counts the effective ones, and must not depend on how few are wanted
_SIGMA_LEAST = 1000
_SIGMA_OVERSAMPLING = 20


EXAMPLES = (
    "sfhflow fit spec-0266-51602-0001.fits --out results",
    "sfhflow fit mygalaxy.txt --redshift 0.021 --medium vacuum --resolution 1900",
    "sfhflow fit spectra/*.fits --out results --report",
    "sfhflow fit spec-0266-51602-0001.fits --refine",
    "sfhflow fit coadd-main-dark-27258.fits --json > answers.jsonl",
)


def fit(
    files: Annotated[list[Path], typer.Argument(help="Spectra: SDSS, DESI, MaNGA ... FITS, or text.")],
    redshift: Annotated[float | None, typer.Option(help="Redshift; overrides the file.")] = None,
    medium: Annotated[str | None, typer.Option(help="Wavelengths in 'air' or 'vacuum'.")] = None,
    resolution: Annotated[float | None, typer.Option(help="Resolving power lambda / FWHM.")] = None,
    fwhm: Annotated[float | None, typer.Option(help="FWHM of the line-spread function, Angstrom.")] = None,
    ebv: Annotated[float | None, typer.Option(help="E(B-V) of the Milky Way to correct for.")] = None,
    distance: Annotated[
        float | None, typer.Option(help="Luminosity distance, Mpc, for the mass; by default that of the redshift.")
    ] = None,
    snr: Annotated[
        float | None, typer.Option(help="S/N per pixel of files without errors: one error for all pixels.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Known stellar velocity dispersion, km/s (taken as good to 5 %).")
    ] = None,
    model: ModelOption = "default",
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help=f"Folder for the results.  [default: {_FOLDER}; with --json none]", show_default=False
        ),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Write interactive pages, NAME.html.")] = False,  # noqa: FBT002
    refine: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--refine",
            help="Correct the samples with the true likelihood (seconds a galaxy, sometimes minutes).",
        ),
    ] = False,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print a JSON object a line for each spectrum, and nothing else.")
    ] = False,
) -> None:
    """Fit spectra: NAME.json, NAME.parquet and NAME.png for each."""
    _check_names(files)
    options = {"redshift": redshift, "medium": medium, "resolution": resolution, "fwhm": fwhm}
    options |= {"ebv": ebv, "snr": snr}
    loaded = load_model(model)
    correct = refiner(loaded) if refine else None
    output = _Output(loaded, _folder(out, needed=report or not as_json), report=report, as_json=as_json)
    complaints = Complaints()
    for item in _read_all(files, options):
        try:
            if isinstance(item, SpectrumError):
                raise item
            spectrum = item if distance is None else replace(item, distance_mpc=distance)
            output.add(_fit_one(loaded, spectrum, samples=samples, seed=seed, sigma=sigma, correct=correct))
        except SpectrumError as error:
            complaints.add(error)
    output.finish()
    complaints.finish()
    if complaints.count:
        raise typer.Exit(code=2)


class _Output:
    """What becomes of the answers: files, pages, and lines on the terminal."""

    def __init__(self, model: Model, folder: Path | None, *, report: bool, as_json: bool) -> None:
        self.folder, self.report, self.as_json = folder, report, as_json
        self._predicted = predictor(model) if folder else None
        self._lines: list[html.Headline] = []

    def add(self, posterior: Posterior) -> None:
        """Write the files of an answer and print it."""
        written = self._write(posterior)
        if self.as_json:
            tqdm.write(json_line(posterior))
        else:
            table = judged(text_table(posterior), ok=posterior.verdict.ok)
            tqdm.write(f"{table}\nwritten: {', '.join(map(str, written))}\n")

    def finish(self) -> None:
        """Write the index of the pages, if there are several."""
        if self.folder and len(self._lines) > 1:
            index = html.write_index(self._lines, self.folder)
            typer.echo(f"written: {index}", err=self.as_json)

    def _write(self, posterior: Posterior) -> list[Path]:
        if self.folder is None or self._predicted is None:
            return []
        predictive = self._predicted(posterior)
        written = write_outputs(posterior, self.folder, predictive)
        if self.report:
            written.append(html.write_report(posterior, self.folder, predictive))
            self._lines.append(html.headline(posterior))
        return written


def _folder(out: Path | None, *, needed: bool) -> Path | None:
    return Path(_FOLDER) if out is None and needed else out


def _check_names(files: list[Path]) -> None:
    """Results are named after files, so two files of one name would overwrite each other's."""
    first: dict[str, Path] = {}
    for path in files:
        if (other := first.setdefault(stem(path), path)) is not path:
            raise InputError(
                f"{path}: its results would overwrite those of {other}, expected files of different names; "
                "fit them one at a time, each with its own --out"
            )


def _read_all(files: list[Path], options: dict[str, Any]) -> Iterator[Spectrum | SpectrumError]:
    """All spectra of all files, errors in their places, with a progress bar if standard error is a terminal."""
    with tqdm(total=len(files), unit="file", disable=None, leave=False) as bar:
        for path in files:
            bar.set_postfix_str(path.name)
            try:
                for count, (_, _, spectrum) in enumerate(iter_spectra(path, **options), 1):
                    yield spectrum
                    if count == _MANY:
                        tqdm.write(f"{path}: more than {_MANY} spectra; {_ADVICE}", file=sys.stderr)
            except SpectrumError as error:
                yield error
            bar.update()


def _fit_one(
    model: Model, spectrum: Spectrum, *, samples: int, seed: int, sigma: float | None, correct: Refines | None
) -> Posterior:
    drawn = samples if sigma is None else max(samples, _SIGMA_LEAST) * _SIGMA_OVERSAMPLING
    posterior = model.infer(spectrum, n_samples=drawn, seed=seed)
    if correct is not None:
        posterior = posterior.refine(correct)
    return posterior if sigma is None else posterior.given_sigma(sigma, n_samples=samples)
