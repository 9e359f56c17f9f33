"""A member of a StatefulSet and its sidecar, both answering over HTTP.

`app` answers on 8080 with its name and with how often it has started on its volume. `sidecar`
answers on 8081, and is unready at first: the app must not start before it.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STARTS = Path("/data/starts")
SHARED = Path("/shared/sidecar-ready")
SLOW_START_S = 1.0
APP_PORT, SIDECAR_PORT = 8080, 8081
_BORN_S = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with what is known of this container."""

    def do_GET(self) -> None:
        port = self.connection.getsockname()[1]
        ready = port == APP_PORT or time.monotonic() - _BORN_S > SLOW_START_S
        if ready and port == SIDECAR_PORT:
            SHARED.touch()
        starts = len(STARTS.read_text().split()) if STARTS.exists() else 0
        body = json.dumps({"name": socket.gethostname(), "starts": starts}).encode()
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(role: str) -> None:
    """Serve until told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if role == "app":
        early = not SHARED.exists()
        sys.stdout.write(f"app starts {'before' if early else 'after'} its sidecar was ready\n")
        with STARTS.open("a") as starts:
            starts.write("start\n")
    port = APP_PORT if role == "app" else SIDECAR_PORT
    ThreadingHTTPServer(("", port), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
