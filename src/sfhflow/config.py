"""Configuration files: what to simulate and how to train, in TOML.

A file has a few top-level keys and one table for each part of the pipeline; every key of a table is a field
of the dataclass that it configures, so the reference of the options is the documentation of those classes:

    name = "my-model"
    library = "fastar-kroupa"      # shipped name, or path of a library

    [prior]                        # sfhflow.prior.Prior, with sfh = "mixture", "families", "gp" or "quantile"
    [parameters]                   # sfhflow.parameters.ParameterMap
    [noise]                        # sfhflow.noise.NoiseModel
    [instrument]                   # sfhflow.simulator.InstrumentModel
    [mismatch]                     # sfhflow.mismatch.TemplateMismatch
    [emission]                     # sfhflow.lines.EmissionModel
    [dust]                         # sfhflow.dust.DustModel
    [grid]                         # sfhflow.grid.LogGrid
    [architecture]                 # sfhflow.network.Architecture
    [plan]                         # sfhflow.train.TrainingPlan
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sfhflow.dust import DustModel
from sfhflow.errors import ConfigError
from sfhflow.gaussian_mixture import GaussianMixture
from sfhflow.grid import LogGrid
from sfhflow.lines import EmissionModel
from sfhflow.mismatch import TemplateMismatch
from sfhflow.network import Architecture
from sfhflow.noise import NoiseModel
from sfhflow.parameters import Bounded, ParameterMap
from sfhflow.prior import Prior, shipped_histories
from sfhflow.sfh import QuantileSFH, SFHFamily, default_mixture, thesis_family
from sfhflow.simulator import InstrumentModel, Simulator
from sfhflow.ssp import open_library
from sfhflow.train import TrainingPlan

__all__ = ["Config", "read_config"]

_HISTORIES: dict[str, Callable[[], GaussianMixture | SFHFamily]] = {
    "mixture": shipped_histories,
    "families": default_mixture,
    "gp": thesis_family,
    "quantile": QuantileSFH,
}


# Ranges of which the logarithm is taken.
_LOG_UNIFORM = {
    "snr_range",
    "sigma_range_kms",
    "calibration_range",
    "amplitude_range",
    "width_range",
    "sigma_kms",
}


class PriorConfig(BaseModel):
    """The `[prior]` table."""

    model_config = ConfigDict(extra="forbid")
    sfh: Literal["mixture", "families", "gp", "quantile"] = "mixture"
    max_redshift: float = Prior.max_redshift
    dust_concentration: float = Prior.dust_concentration
    gap_scatter: float = Prior.gap_scatter


class ParametersConfig(BaseModel):
    """The `[parameters]` table: bounds of the parameters."""

    model_config = ConfigDict(extra="forbid")
    metallicity: tuple[float, float] = (ParameterMap.metallicity.low, ParameterMap.metallicity.high)
    a_v: tuple[float, float] = (ParameterMap.a_v.low, ParameterMap.a_v.high)
    sigma_kms: tuple[float, float] = (ParameterMap.sigma_kms.low, ParameterMap.sigma_kms.high)

    def build(self) -> ParameterMap:
        """Make the parameter map."""
        return ParameterMap(Bounded(*self.metallicity), Bounded(*self.a_v), Bounded(*self.sigma_kms, log=True))


class Config(BaseModel):
    """A whole configuration file; every table is optional."""

    model_config = ConfigDict(extra="forbid")
    name: str = "unnamed"
    library: str = "fastar-kroupa"
    licence: str = "BSD-3-Clause"
    prior: PriorConfig = PriorConfig()
    parameters: ParametersConfig = ParametersConfig()
    noise: NoiseModel = NoiseModel()
    instrument: InstrumentModel = InstrumentModel()
    mismatch: TemplateMismatch = TemplateMismatch()
    emission: EmissionModel = EmissionModel()
    dust: DustModel = DustModel()
    grid: LogGrid = LogGrid()
    architecture: Architecture = Architecture()
    plan: TrainingPlan = TrainingPlan()

    def galaxies(self) -> Prior:
        """Make the prior that this configuration describes."""
        choice = self.prior
        histories = _HISTORIES[choice.sfh]()
        return Prior(
            histories, choice.max_redshift, choice.dust_concentration, choice.gap_scatter, self.parameters.build()
        )

    def simulator(self) -> Simulator:
        """Make the simulator that this configuration describes."""
        return Simulator(
            open_library(self.library),
            self.galaxies(),
            self.noise,
            self.instrument,
            self.mismatch,
            self.emission,
            self.dust,
            self.grid,
        )


def read_config(path: str | Path) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        If the file cannot be read or has an unknown key or a bad value; the message names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}), expected a TOML file; check the path") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); correct that line") from error
    _check_keys(path, text, data)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        raise ConfigError(
            f"{path}, line {_line_of(text, keys)}: {'.'.join(keys)} is {first['input']!r}, {first['msg']}; "
            "correct the value"
        ) from error
    _check_values(path, text, data, config)
    return config


def _check_keys(path: str | Path, text: str, data: dict[str, Any]) -> None:
    """Name the allowed keys where an unknown one is found (dataclasses would let it pass)."""
    tables = Config.model_fields
    _check_table(path, text, [], data, set(tables))
    for name, table in data.items():
        kind = tables[name].annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            _check_table(path, text, [name], table, set(kind.model_fields))
        elif dataclasses.is_dataclass(kind):
            _check_table(path, text, [name], table, {field.name for field in dataclasses.fields(kind)})


def _check_table(path: str | Path, text: str, where: list[str], table: Any, allowed: set[str]) -> None:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {'.'.join(where)} is {table!r}, expected a table [{where[0]}]; make it one")
    for key in table:
        if key not in allowed:
            raise ConfigError(
                f"{path}, line {_line_of(text, [*where, key])}: unknown key {'.'.join([*where, key])}, "
                f"expected one of {', '.join(sorted(allowed))}; correct or remove it"
            )


def _check_values(path: str | Path, text: str, data: dict[str, Any], config: Config) -> None:
    """Refuse values of the right type that would make nothing but NaN."""
    for table, keys in data.items():
        for key in keys if isinstance(keys, dict) else ():
            if expected := _expected(table, key, getattr(getattr(config, table), key)):
                raise ConfigError(
                    f"{path}, line {_line_of(text, [table, key])}: {table}.{key} is {keys[key]!r}, "
                    f"expected {expected}; correct the value"
                )


def _expected(table: str, key: str, value: Any) -> str | None:
    """What a value should have been, if it makes no sense."""
    if table in ("plan", "architecture") and isinstance(value, int):
        return "at least 1" if value < 1 and key not in ("depth", "seed") else None
    if key.endswith("_zero_point"):
        return None if math.isfinite(value) and value >= 0 else "a finite number, not negative"
    if not (key.endswith("_range") or table == "parameters"):
        return None
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high)):
        return "two finite numbers"
    if low > high or (low == high and table == "parameters"):
        return "two rising numbers"
    return "positive numbers" if key in _LOG_UNIFORM and low <= 0 else None


def _line_of(text: str, keys: list[str]) -> int:
    """Line of a key in a TOML file: the first `key =` after the header of its table."""
    inside = len(keys) < 2
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = len(keys) > 1 and stripped.strip("[] ").split("#")[0].strip("[] ") == keys[0]
        name = keys[1] if len(keys) > 1 else keys[0]
        if (inside and stripped.split("=")[0].strip() == name) or stripped.strip("[]") == name:
            return number
    return 1
