"""`sfhflow fit`: spectra in; a summary, samples and a figure out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from sfhflow import html
from sfhflow.cli.options import ModelOption, OutOption, SamplesOption, SeedOption
from sfhflow.errors import InputError, SpectrumError
from sfhflow.posterior import Model, Posterior, load_model
from sfhflow.predict import predictor
from sfhflow.readers import iter_spectra, stem
from sfhflow.report import text_table, write_outputs
from sfhflow.spectrum import Spectrum

__all__ = ["fit"]

# samples drawn for each one that is kept when a velocity dispersion is given, as if at least this many were kept:
# the verdict counts the effective ones, and must not depend on how few are wanted
_SIGMA_LEAST = 1000
_SIGMA_OVERSAMPLING = 20


def fit(
    files: Annotated[list[Path], typer.Argument(help="Spectra: SDSS, DESI, MaNGA ... FITS, or text.")],
    redshift: Annotated[float | None, typer.Option(help="Redshift; overrides the file.")] = None,
    medium: Annotated[str | None, typer.Option(help="Wavelengths in 'air' or 'vacuum'.")] = None,
    resolution: Annotated[float | None, typer.Option(help="Resolving power lambda / FWHM.")] = None,
    fwhm: Annotated[float | None, typer.Option(help="FWHM of the line-spread function, Angstrom.")] = None,
    ebv: Annotated[float | None, typer.Option(help="E(B-V) of the Milky Way to correct for.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Known stellar velocity dispersion, km/s (taken as good to 5 %).")
    ] = None,
    model: ModelOption = "default",
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    out: OutOption = Path("sfhflow-results"),
    report: Annotated[bool, typer.Option("--report", help="Write interactive pages, NAME.html.")] = False,  # noqa: FBT002
) -> None:
    """Fit spectra: NAME.json, NAME.parquet and NAME.png for each.

    Example: sfhflow fit spec-0266-51602-0001.fits --out results
    """
    _check_names(files)
    options = {"redshift": redshift, "medium": medium, "resolution": resolution, "fwhm": fwhm, "ebv": ebv}
    loaded = load_model(model)
    predicted = predictor(loaded)
    failed, lines = 0, []
    for item in tqdm(_read_all(files, options), disable=len(files) < 3, unit="spectrum"):
        try:
            if isinstance(item, SpectrumError):
                raise item
            posterior = _fit_one(loaded, item, samples=samples, seed=seed, sigma=sigma)
        except SpectrumError as error:
            failed += 1
            tqdm.write(f"sfhflow: {error}", file=sys.stderr)
            continue
        predictive = predicted(posterior)
        written = write_outputs(posterior, out, predictive)
        if report:
            written.append(html.write_report(posterior, out, predictive))
            lines.append(html.headline(posterior))
        tqdm.write(f"{text_table(posterior)}\nwritten: {', '.join(str(path) for path in written)}\n")
    if len(lines) > 1:
        typer.echo(f"written: {html.write_index(lines, out)}")
    if failed:
        raise typer.Exit(code=2)


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
    for path in files:
        try:
            for _, _, spectrum in iter_spectra(path, **options):
                yield spectrum
        except SpectrumError as error:
            yield error


def _fit_one(model: Model, spectrum: Spectrum, *, samples: int, seed: int, sigma: float | None) -> Posterior:
    if sigma is None:
        return model.infer(spectrum, n_samples=samples, seed=seed)
    wide = model.infer(spectrum, n_samples=max(samples, _SIGMA_LEAST) * _SIGMA_OVERSAMPLING, seed=seed)
    return wide.given_sigma(sigma, n_samples=samples)
