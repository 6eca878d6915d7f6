"""The web page: drop a spectrum, see its history and whether to believe it, change settings, take the results.

The server holds spectra and posteriors in memory, under names that cannot be guessed, and the oldest give way;
an upload touches the disk only in a temporary folder of its own, under a fixed name, while it is read.  Flask was
chosen because requests are short, synchronous computations, for which it is the smallest framework that Python
people know; waitress serves it.
"""

from sfhflow.app.routes import create_app
from sfhflow.app.server import serve
from sfhflow.app.service import Service

__all__ = ["Service", "create_app", "serve"]
