"""A checkpoint server on this machine that can break in every way that matters."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BODY = bytes(range(256)) * 1200  # 300 kB


class Server(ThreadingHTTPServer):
    """Serves ``body``; its switches say how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag = BODY, '"one"'
        self.ranges = True  # answers Range
        self.drop_after = 0  # bytes after which the line drops, on the next ``drops`` answers
        self.drops = 0
        self.codes: list[int] = []  # error codes to answer first
        self.says_length = True
        self.seen: list[tuple[str, str | None, str | None]] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.seen.append((self.path, asked, self.headers.get("If-Range")))
        if server.codes:
            return self.send_error(server.codes.pop(0))
        same = self.headers.get("If-Range") in (None, server.etag)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges and same else 0
        if start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if server.says_length:
            self.send_header("Content-Length", str(len(server.body) - start))
        self.send_header("ETag", server.etag)
        self.end_headers()
        self._send(server.body[start:])
        return None

    def _send(self, data: bytes) -> None:
        server = self.server
        if server.drops:
            server.drops -= 1
            data = data[: server.drop_after]
        self.wfile.write(data)
        server.sent += len(data)
