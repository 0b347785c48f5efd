"""optuna-dashboard on loopback, over studies that it can only read; and where Ray's own dashboard is."""

from __future__ import annotations

import errno
import http.client
import socketserver
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from orchestrator.errors import UserError
from orchestrator.studies import Studies

HOST, PORT = "127.0.0.1", 8080
RAYS_PORT = 8265  #: Ray's default; a second Ray of a machine takes the next one
TRIES = 20  #: ports from the first one on
NAMES = ("127.0.0.1", "localhost")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTP's own asks the network for the name of 127.0.0.1
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody wants to read every request."""


def open_server(studies: Studies, port: int | None = None) -> WSGIServer:
    """optuna-dashboard on loopback at ``port``, or at the first free one from 8080 on; ``serve_forever`` runs it.

    Raises:
        UserError: the port is taken.
    """
    app = read_only(wsgi(studies))
    for wanted in [port] if port is not None else range(PORT, PORT + TRIES):
        try:
            return make_server(HOST, wanted, app, _Server, _Silent)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    if port is not None:
        raise UserError(f"port {port} is taken; leave --port out, or give another one")
    raise UserError(f"ports {PORT} to {PORT + TRIES - 1} are all taken; give another one with --port")


def read_only(app: App) -> App:
    """An application that is only asked to show, and by this machine's own names: a page of the web has another."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        why = ""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            why = "the studies of sweeps are only shown; nothing is changed here"
        elif environ.get("HTTP_HOST", HOST).split(":")[0] not in NAMES:
            why = "ask for 127.0.0.1 or localhost"
        if not why:
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [f'{{"reason": "{why}"}}'.encode()]

    return answer


def ray_dashboard(first: int = RAYS_PORT) -> str | None:
    """The address of the dashboard of a Ray that runs on this machine; None where none answers. Starts nothing."""
    for port in range(first, first + TRIES):
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/api/version")
            answer = connection.getresponse()
            told = answer.read(4096)
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
        # without its token it says so
        if b"ray_version" in told or (answer.status == 401 and b"authentication token" in told):
            return f"http://{HOST}:{port}"
    return None
