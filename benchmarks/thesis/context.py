"""What a stage is given: the sizes, the run folder, the data sets, the results of earlier stages.

A stage must not keep anything outside its run folder, so that every run can be resumed and thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.thesis.dataset import Dataset, Histories, Window, draw_histories, make_dataset
from benchmarks.thesis.library import Library, open_library
from sfhflow.errors import InputError

__all__ = ["Context", "Metallicities"]

Metallicities = Literal["discrete", "continuous"]


@dataclass(frozen=True)
class Context:
    """Settings and files of one run.

    Attributes
    ----------
    folder : Path
        Run folder: data sets, weights, results, figures.
    data : Path
        Folder with other people's data: `ssp/miuscat_basti_ku1.30`, `stacks`, `thesis`.  May be absent.
    quick : bool
        Tiny sizes: shows that everything runs, its numbers mean nothing.
    seed : int
        Of everything.
    tiny : bool
        Even smaller than quick, for tests.
    device : str
        Where the thesis' encoder is trained.
    """

    folder: Path
    data: Path
    quick: bool = False
    seed: int = 0
    tiny: bool = False
    device: str = "cpu"
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def size(self, full: int, quick: int, tiny: int | None = None) -> int:
        """The number for this kind of run, for instance of epochs."""
        if self.tiny:
            return quick if tiny is None else tiny
        return quick if self.quick else full

    @property
    def n_spectra(self) -> int:
        """Spectra in each data set; the thesis has 150,000."""
        return self.size(150_000, 7_500, 1_500)

    def library(self) -> Library:
        """Open the library of populations: the thesis' own where its files are, else the shipped one."""
        return self._once("library", lambda: open_library(self.data, self.folder))

    def histories(self, metallicities: Metallicities = "discrete") -> Histories:
        """Star formation histories and [M/H] of the galaxies of a data set."""
        path = self.file(f"histories-{metallicities}.safetensors")
        number = ("discrete", "continuous").index(metallicities)

        def make() -> Histories:
            if not path.exists():
                draw_histories(
                    self.n_spectra,
                    self.library(),
                    discrete=metallicities == "discrete",
                    seed=self.seed + number,
                ).save(path)
            return Histories.load(path)

        return self._once(("histories", metallicities), make)

    def dataset(self, metallicities: Metallicities = "discrete", window: Window = "full") -> Dataset:
        """Median-normalised noise-free spectra with the truth, split 80/10/10.

        Parameters
        ----------
        metallicities : {"discrete", "continuous"}
            The thesis' 15 values of [M/H], or any in the same range.
        window : {"full", "stack", "stack-long"}
            3540.5-7409.6 Angstrom as the library; or broadened to 320 km/s and the resolution of SDSS, in steps of
            1 Angstrom, at 4023-5500 or 4023-6000 Angstrom.
        """
        path = self.file(f"spectra-{metallicities}-{window}.safetensors")

        def make() -> Dataset:
            return make_dataset(self.histories(metallicities), self.library(), window, path)

        return self._once((metallicities, window), make)

    def file(self, name: str) -> Path:
        """A path in the run folder, for weights and such."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def figure(self, name: str) -> Path:
        """Where the figure `name` (without suffix) is to be drawn; PNG, best below 100 kB."""
        folder = self.folder / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.png"

    def result(self, stage: str) -> dict[str, Any]:
        """The numbers of a stage that has been run.

        Raises
        ------
        InputError
            If it has not.
        """
        path = self.folder / f"{stage}.json"
        if not path.exists():
            raise InputError(f"{path}: not there, expected the result of stage {stage!r}; run that stage first")
        return json.loads(path.read_text())

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]
