"""Addresses of the web page, over a `Service`.

Every answer to a mistake is JSON with one sentence under ``error`` and the fields it asks for under ``asks``.
Requests from other sites are refused: those that come with another origin, and, where the page is bound to this
machine, those under another host name (DNS rebinding).
"""

from __future__ import annotations

import io
import ipaddress
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sfhflow import html
from sfhflow.app.fields import asked_fields, fit_settings, in_words
from sfhflow.app.service import DOWNLOADS, Service
from sfhflow.app.uploads import MAX_BYTES
from sfhflow.errors import InputError
from sfhflow.examples import EXAMPLES
from sfhflow.extras import optional

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.exceptions import HTTPException
    from werkzeug.wrappers import Response

__all__ = ["create_app", "is_loopback"]

# the fields that go with a file in its request
_FORM_BYTES = 10**6
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SENTENCES = {
    404: "there is nothing at this address, expected one of the page's own; go back to the start page",
    413: f"the file is too large, expected at most {MAX_BYTES // 10**6} MB; cut it down or use the command "
    "sfhflow fit",
    500: "something went wrong that is not your fault; the server's log has the details, please report them",
}

_log = logging.getLogger(__name__)


def create_app(service: Service, *, local_only: bool = True) -> Flask:
    """Make the web application.

    Parameters
    ----------
    service : Service
        What does the work.
    local_only : bool
        Answer only requests to this machine under its own names.

    Raises
    ------
    InputError
        If the extra ``web`` is not installed.
    """
    flask = optional("flask", extra="web")
    app: Flask = flask.Flask("sfhflow", static_folder=None)
    # the JSON of a figure refers to what came before
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES + _FORM_BYTES
    _add_pages(app, flask, service)
    _add_spectra(app, flask, service)
    _add_guards(app, flask, local_only=local_only)
    _add_errors(app)
    return app


def is_loopback(host: str | None) -> bool:
    """Tell whether a host name or address is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return False


def _add_pages(app: Flask, flask: Any, service: Service) -> None:
    @app.get("/")
    def start() -> str:
        return html.render(
            "app.html",
            model=service.model.name,
            version=service.version,
            examples={name: what for name, (_, what) in EXAMPLES.items()},
            max_megabytes=MAX_BYTES // 10**6,
        )

    @app.get("/assets/<name>")
    def asset(name: str) -> Response:
        path = html.asset_path(name)
        if path is None:
            flask.abort(404)
        return flask.send_file(path, conditional=True, max_age=0)


def _add_spectra(app: Flask, flask: Any, service: Service) -> None:
    @app.post("/api/spectra")
    def add() -> dict[str, Any]:
        form, file = flask.request.form, flask.request.files.get("file")
        if "example" in form:
            return service.add_example(form["example"])
        if file is None:
            raise InputError("found no file in the request, expected a spectrum; choose a file")
        return service.add(file.read(), file.filename or "", form)

    @app.post("/api/spectra/<key>/fit")
    def fit(key: str) -> dict[str, Any]:
        fields = flask.request.get_json(silent=True)
        if not isinstance(fields, dict):
            raise InputError("found no settings in the request, expected a JSON object; send {} for the defaults")
        part = service.fit(key, fit_settings(fields))
        return {"html": part.html, "figures": part.figures}

    @app.delete("/api/spectra/<key>")
    def remove(key: str) -> dict[str, Any]:
        service.store.remove(key)
        return {}

    @app.get("/api/spectra/<key>/<kind>")
    def download(key: str, kind: str) -> Response:
        name, content = service.download(key, kind)
        return flask.send_file(
            io.BytesIO(content), mimetype=DOWNLOADS[kind], as_attachment=True, download_name=name
        )

    @app.get("/api/comparison")
    def compare() -> dict[str, Any]:
        part = service.compare(flask.request.args.getlist("key"))
        return {"html": part.html, "figures": part.figures}


def _add_guards(app: Flask, flask: Any, *, local_only: bool) -> None:
    @app.before_request
    def refuse_other_sites() -> tuple[dict[str, Any], int] | None:
        host, origin = flask.request.host, flask.request.headers.get("Origin")
        other_name = local_only and not is_loopback(urlsplit(f"//{host}").hostname)
        if other_name or (origin is not None and urlsplit(origin).netloc != host):
            return _problem("the request comes from another site, expected this page; open the page itself"), 403
        return None

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _add_errors(app: Flask) -> None:
    @app.errorhandler(InputError)
    def mistake(error: InputError) -> tuple[dict[str, Any], int]:
        return _problem(str(error)), 400

    @app.errorhandler(optional("werkzeug.exceptions", extra="web").HTTPException)
    def refused(error: HTTPException) -> tuple[dict[str, Any], int]:
        code = error.code or 500
        return _problem(_SENTENCES.get(code, f"the request was refused ({error.name}); go back to the page")), code

    @app.errorhandler(Exception)
    def failed(error: Exception) -> tuple[dict[str, Any], int]:
        _log.error("request failed", exc_info=error)
        return _problem(_SENTENCES[500]), 500


def _problem(sentence: str) -> dict[str, Any]:
    return {"error": in_words(sentence), "asks": asked_fields(sentence)}
