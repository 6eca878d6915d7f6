"""The command line: `sfhflow demo | fit | simulate | train | serve | ssp`.

Each command only wires together what the package does; user errors end as one sentence on standard error and
exit code 2, and in a list of files a bad one never stops the others.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors import SafetensorError
from tqdm import tqdm

from sfhflow import __version__, html
from sfhflow.app import Service
from sfhflow.app import serve as serve_page
from sfhflow.config import read_config
from sfhflow.errors import InputError, SpectrumError
from sfhflow.examples import example_path
from sfhflow.posterior import Model, Posterior, load_model
from sfhflow.predict import predictor
from sfhflow.readers import iter_spectra, stem
from sfhflow.report import text_table, write_outputs
from sfhflow.simulator import save_simulation
from sfhflow.spectrum import Spectrum
from sfhflow.ssp import fastar, open_library, save, shipped_names
from sfhflow.survey import SHARD_SIZE, estimate_survey, run_survey
from sfhflow.train import fit as fit_model

__all__ = ["app", "main"]

app = typer.Typer(
    help="Star formation histories and metallicities of galaxies from their optical spectra.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ssp_app = typer.Typer(help="Build, list and describe libraries of stellar populations.", no_args_is_help=True)
app.add_typer(ssp_app, name="ssp")

# samples drawn for each one that is kept when a velocity dispersion is given, as if at least this many were kept:
# the verdict counts the effective ones, and must not depend on how few are wanted
_SIGMA_LEAST = 1000
_SIGMA_OVERSAMPLING = 20

OutOption = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
ModelOption = Annotated[str, typer.Option("--model", help="Name of a shipped model, or a model folder.")]
SamplesOption = Annotated[int, typer.Option("--samples", min=10, help="Posterior samples for each galaxy.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random numbers.")]


def main() -> None:
    """Run the command line; user errors become one line and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app(prog_name="sfhflow")
    except InputError as error:
        typer.echo(f"sfhflow: {error}", err=True)
        sys.exit(2)


def _version(show: bool | None) -> None:  # noqa: FBT001 - the signature of a typer callback
    if show:
        typer.echo(f"sfhflow {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = None,
) -> None:
    """Options before the command."""


@app.command()
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


@app.command()
def demo(out: OutOption = Path("sfhflow-demo")) -> None:
    """Fit a real SDSS spectrum (NGC 3522) with the shipped model."""
    path = example_path("NGC3522")
    typer.echo(f"fitting {path.name}, an SDSS spectrum of the elliptical galaxy NGC 3522\n")
    fit([path], out=out)


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML).")],
    out: Annotated[Path, typer.Option("--out", help="Output file (.safetensors).")],
    number: Annotated[int, typer.Option("-n", min=1, help="Number of galaxies.")] = 1000,
    seed: SeedOption = 0,
) -> None:
    """Simulate galaxies: parameters and observed spectra, to a file."""
    simulator = read_config(config).simulator()
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        save_simulation(simulator, out, n=number, seed=seed)
    typer.echo(f"{number} galaxies written to {out}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML).")],
    out: Annotated[Path, typer.Option("--out", help="Model folder; a run found there is resumed.")],
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
) -> None:
    """Train a model; interrupt it at any time and run the same command to go on."""
    settings = read_config(config)
    _check_device(device)
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
    model, history = fit_model(
        settings.simulator(),
        architecture=settings.architecture,
        plan=settings.plan,
        directory=out,
        device=device,
        progress=True,
    )
    model.card |= {
        "name": settings.name,
        "licence": settings.licence,
        "config": settings.model_dump(mode="json"),
        "versions": {name: metadata.version(name) for name in ("sfhflow", "torch", "zuko", "numpy")},
    }
    with _writing(out):
        model.save(out)
    typer.echo(f"{out}: validation log-probability {-min(row['validation'] for row in history):.3f} nats")


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise InputError(
            f"--device is {device!r}, which cannot be used ({reason}), expected cpu, or cuda where there is "
            "such a device; choose cpu"
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot be written ({' '.join(str(error).split())}), expected a place where files can be "
            "made; check --out and its permissions"
        ) from error


@app.command()
def survey(
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, 'patterns', tables, packed files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the catalogue; a run found there goes on.")],
    *,
    model: ModelOption = "default",
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Local processes, with Dask.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask cluster, tcp://...")] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Files or rows in a shard.")] = SHARD_SIZE,
    keep_samples: Annotated[bool, typer.Option("--keep-samples", help="Write the samples too.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only estimate time and disk, from a sample.")] = False,
) -> None:
    """Infer many spectra into one catalogue; interrupt it at any time and run the same command to go on."""
    options: dict[str, Any] = {
        "model": model,
        "n_samples": samples,
        "shard_size": shard_size,
        "keep_samples": keep_samples,
    }
    if plan:
        typer.echo(estimate_survey(inputs, **options).text(workers=workers or 1))
        return
    summary = run_survey(inputs, out, **options, seed=seed, workers=workers, scheduler=scheduler, progress=True)
    typer.echo(summary.text)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to bind to; the default is this machine alone.")
    ] = "127.0.0.1",
    model: ModelOption = "default",
) -> None:
    """Open a web page on this machine: drop spectra, see their histories, take the results."""
    service = Service(load_model(model), version=__version__)
    serve_page(service, host=host, port=port, announce=typer.echo)


@ssp_app.command("list")
def list_libraries() -> None:
    """List the libraries that come with the package."""
    for name in shipped_names():
        library = open_library(name)
        typer.echo(f"{name}: {len(library.ages_gyr)} ages x {len(library.metallicities)} [M/H]")


@ssp_app.command("show")
def show_library(name: Annotated[str, typer.Argument(help="Shipped name, or a path.")]) -> None:
    """Describe a library: its grid, wavelengths, resolution and origin."""
    library = open_library(name)
    wavelength = library.wavelength
    typer.echo(f"name         {library.name}")
    typer.echo(f"ages         {len(library.ages_gyr)}: {library.ages_gyr[0]:g} to {library.ages_gyr[-1]:g} Gyr")
    typer.echo(f"[M/H]        {', '.join(f'{value:g}' for value in library.metallicities)}")
    typer.echo(f"wavelength   {wavelength[0]:.1f} to {wavelength[-1]:.1f} Angstrom, {library.medium}")
    for key, value in library.metadata.items():
        typer.echo(f"{key:<12} {value}")


@ssp_app.command("build")
def build_library(
    out: Annotated[Path, typer.Option("--out", help="Output file (.safetensors).")],
    source: Annotated[
        str, typer.Option(help="'fastar', or a path to MILES FITS files or a pPXF .npz.")
    ] = "fastar",
    imf: Annotated[str, typer.Option(help="Initial mass function, for fastar.")] = "kroupa",
) -> None:
    """Make a library file from the FASTAR generator or from files of other libraries."""
    if source == "fastar":
        with tqdm(unit="SSP") as bar:
            library = fastar.build(imf, progress=lambda done, total: _advance(bar, done, total))
    else:
        library = open_library(source)
    with _writing(out):
        save(library, out)
    typer.echo(f"{library.name} written to {out}")


def _advance(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
