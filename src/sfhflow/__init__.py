"""Star formation histories and metallicities from galaxy spectra by amortized simulation-based inference.

    import sfhflow

    model = sfhflow.load_model("default")
    spectrum = sfhflow.read_spectrum("spec-0266-51602-0001.fits")
    posterior = model.infer(spectrum, n_samples=1000, seed=0)
    posterior.summary()

The names below are imported when they are first used, so that simulating and training need neither the readers
nor what those depend on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfhflow.interop import (
        bagpipes_continuity,
        prospector_continuity,
        sfh_table,
        sfh_tuples,
        ssp_weights,
        to_inference_data,
        to_table,
    )
    from sfhflow.model import Model, load_model
    from sfhflow.posterior import Posterior
    from sfhflow.readers import deredden, from_arrays, from_specutils, read_spectra, read_spectrum
    from sfhflow.refine import refiner
    from sfhflow.spectrum import Spectrum

__version__ = "0.1.0"

__all__ = [
    "Model",
    "Posterior",
    "Spectrum",
    "bagpipes_continuity",
    "deredden",
    "from_arrays",
    "from_specutils",
    "load_model",
    "prospector_continuity",
    "read_spectra",
    "read_spectrum",
    "refiner",
    "sfh_table",
    "sfh_tuples",
    "ssp_weights",
    "to_inference_data",
    "to_table",
]

_HOME = {
    "Model": "model",
    "Posterior": "posterior",
    "Spectrum": "spectrum",
    "bagpipes_continuity": "interop",
    "deredden": "readers",
    "from_arrays": "readers",
    "from_specutils": "readers",
    "load_model": "model",
    "prospector_continuity": "interop",
    "read_spectra": "readers",
    "read_spectrum": "readers",
    "refiner": "refine",
    "sfh_table": "interop",
    "sfh_tuples": "interop",
    "ssp_weights": "interop",
    "to_inference_data": "interop",
    "to_table": "interop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
