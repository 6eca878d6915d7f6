"""`sfhflow verify`: the calibration of a model on simulations that it was never trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from sfhflow import __version__
from sfhflow.certificate import Certificate, Criterion, Sizes, certificate_page, certify, compare, run_trials
from sfhflow.cli.options import writing
from sfhflow.config import Config
from sfhflow.errors import ModelError
from sfhflow.model import Model, load_model, shipped_models
from sfhflow.plots import certificate_figure

__all__ = ["EXAMPLES", "verify"]

EXAMPLES = (
    "sfhflow verify default --quick",
    "sfhflow verify mymodel --out certificate",
)
FULL = Sizes()
QUICK = Sizes(main=1024, masked=512, faint=512)
_NAME = "certificate"
_QUICK_HELP = f"{sum(QUICK.galaxies.values()):,} galaxies in place of {sum(FULL.galaxies.values()):,}."


def verify(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a model folder.")],
    quick: Annotated[bool, typer.Option("--quick", help=_QUICK_HELP)] = False,  # noqa: FBT002
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the certificate; a run found there goes on.")
    ] = Path("sfhflow-certificate"),
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if a criterion fails.")] = False,  # noqa: FBT002
) -> None:
    """Test a model on new simulations of its own configuration: certificate.json, .md and .png."""
    loaded = load_model(model)
    config, sizes = _config(loaded), QUICK if quick else FULL
    provenance = _provenance(loaded, config, sizes, f"sfhflow verify {loaded.name}{' --quick' if quick else ''}")
    kept = out / f"batches-{_digest_of(provenance)[:12]}"
    with writing(out):
        kept.mkdir(parents=True, exist_ok=True)
        with tqdm(total=sum(sizes.galaxies.values()), unit="galaxy", disable=None, leave=False) as bar:
            options: dict[str, Any] = {"seed": config.plan.seed, "folder": kept, "progress": bar.update}
            trials, prior = run_trials(loaded, config.simulator(), sizes=sizes, **options)
        certificate = certify(trials, prior, provenance)
        written = _write(certificate, out)
        for path in kept.glob("*"):
            path.unlink()
        kept.rmdir()
    criteria = certificate.criteria + _repeated(model, certificate.to_dict())
    _print(certificate, criteria)
    typer.echo(f"written: {', '.join(map(str, written))}")
    if strict and any(criterion.outcome == "fail" for criterion in criteria):
        raise typer.Exit(code=1)


def _write(certificate: Certificate, out: Path) -> list[Path]:
    plain = certificate.to_dict()
    numbers, page, figure = (out / f"{_NAME}.{kind}" for kind in ("json", "md", "png"))
    numbers.write_text(json.dumps(plain, allow_nan=False) + "\n")
    page.write_text(certificate_page(plain))
    certificate_figure(plain).savefig(figure)
    return [numbers, page, figure]


def _config(model: Model) -> Config:
    if "config" not in model.card:
        raise ModelError(
            f"{model.name}: its card.json holds no training configuration, expected the key 'config' as "
            "`sfhflow train` writes it; train the model with that command to verify it"
        )
    return Config.model_validate(model.card["config"])


def _provenance(model: Model, config: Config, sizes: Sizes, command: str) -> dict[str, Any]:
    return {
        "model": model.name,
        "command": command,
        "weights": model.digest(),
        "config": _digest_of(config.model_dump(mode="json")),
        "seed": config.plan.seed,
        "galaxies": sizes.galaxies,
        "n_samples": sizes.n_samples,
        "version": __version__,
    }


def _digest_of(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _repeated(model: str, plain: dict[str, Any]) -> list[Criterion]:
    """Comparison with the certificate that lies in the model's folder, if there is one."""
    path = shipped_models().get(model, Path(model)) / f"{_NAME}.json"
    if not path.is_file():
        return []
    carried = json.loads(path.read_text(encoding="utf-8"))
    if carried["provenance"]["weights"] != plain["provenance"]["weights"]:
        return [Criterion("reproduced", f"{path} is of these weights, not of others", 0.0, 1.0, "fail")]
    return [compare(plain, carried)]


def _print(certificate: Certificate, criteria: list[Criterion]) -> None:
    typer.echo(f"{certificate.provenance['model']}: {certificate.everything.n_galaxies} galaxies")
    for c in criteria:
        typer.echo(
            f"{c.outcome:12s} {c.statement}: {c.value:.3g} (limit {c.limit:.3g}){c.where and ', ' + c.where}"
        )
    typer.echo(f"log-probability {certificate.log_prob:.3f} ± {certificate.log_prob_error:.3f} nats")
