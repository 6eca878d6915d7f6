"""The calibration certificate of a model: tests on simulations that it was never trained on, with verdicts.

`certify` simulates galaxies from a model's own configuration, lets the model answer, and reduces the answers to
a `Certificate`: coverage, rank tests, random points, sharpness and the criteria that they meet or fail.
`certificate_page` writes it in Markdown; JSON is `Certificate.to_dict`.  Anything that offers `sample` and
`log_prob` can be certified.
"""

from sfhflow.certificate.bins import Bin
from sfhflow.certificate.comparison import compare
from sfhflow.certificate.criteria import Criterion
from sfhflow.certificate.page import certificate_page, certificate_sections
from sfhflow.certificate.record import Certificate, Quantity, certify
from sfhflow.certificate.trial import NAMES, AmortizedPosterior, Sizes, Trial, headline, run_trials
from sfhflow.certificate.uniformity import SampleTest

__all__ = [
    "NAMES",
    "AmortizedPosterior",
    "Bin",
    "Certificate",
    "Criterion",
    "Quantity",
    "SampleTest",
    "Sizes",
    "Trial",
    "certificate_page",
    "certificate_sections",
    "certify",
    "compare",
    "headline",
    "run_trials",
]
