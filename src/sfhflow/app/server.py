"""Serve the web page until it is interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sfhflow.app.routes import create_app, is_loopback
from sfhflow.app.service import Service
from sfhflow.errors import InputError
from sfhflow.extras import optional

__all__ = ["serve"]

_THREADS = 4


def serve(service: Service, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve the web page.

    Parameters
    ----------
    service : Service
        What does the work.
    host : str
        Address to bind to; 127.0.0.1 is reached from this machine alone.
    port : int
        Port; 0 chooses a free one.
    announce : callable
        Given a line about where the page is, and a warning if other machines can reach it.

    Raises
    ------
    InputError
        If the extra ``web`` is not installed, or the address cannot be used.
    """
    local = is_loopback(host)
    app = create_app(service, local_only=local)
    try:
        server = optional("waitress", extra="web").create_server(app, host=host, port=port, threads=_THREADS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"serve: {host}, port {port} cannot be used ({error}), expected a free port of this machine; choose "
            "another with --port"
        ) from error
    # it speaks of every request that waits for another
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if not local:
        announce(f"Warning: {host} can be reached from other machines, and the page asks nobody for a password.")
    announce(f"sfhflow is at http://{_shown(host)}:{_port(server, port)}/ (Ctrl+C ends it)")
    server.run()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _port(server: object, port: int) -> int:
    return int(getattr(server, "effective_port", port))
