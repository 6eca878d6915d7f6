"""Survey runs: any number of spectra into one catalogue, resumable, on one process or many machines.

The inputs are cut into shards by a plan made in advance; each shard becomes one Parquet file, whole or not at
all, whose bytes are a function of the inputs and the settings.  So a run may be killed at any moment and started
again, or be done by a cluster, and ends with the same files.
"""

from sfhflow.survey.estimate import Estimate, estimate_survey
from sfhflow.survey.packed import write_packed
from sfhflow.survey.run import SHARD_SIZE, SurveySummary, run_survey

__all__ = ["SHARD_SIZE", "Estimate", "SurveySummary", "estimate_survey", "run_survey", "write_packed"]
