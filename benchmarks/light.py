"""Give a model the table of light of its SSP library, if it was trained before such tables were kept.

python -m benchmarks.light src/sfhflow/models/default
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sfhflow import load_model
from sfhflow.galaxy import light_of
from sfhflow.ssp import open_library


def main() -> None:
    """Write `light.safetensors` beside the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder")
    folder = parser.parse_args().model
    light = light_of(open_library(load_model(folder).card["config"]["library"]))
    if light is None:
        raise SystemExit(f"{folder}: the library covers no band")
    light.save(folder / "light.safetensors")
    print(f"{folder}: {light.library}, bands {', '.join(light.bands)}")


if __name__ == "__main__":
    main()
