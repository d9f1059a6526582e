"""The small HTTP server that processes without an API use for `/metrics`, `/livez` and `/readyz`."""

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from monitoring.recorder import Recorder

#: Tells whether the process is healthy, and in words why not (empty when it is).
HealthCheck = Callable[[], tuple[bool, str]]


def healthy() -> tuple[bool, str]:
    """The health check of a process with nothing to check."""
    return True, ""


class MetricsServer:
    """A daemon thread that serves one recorder. Close it to free the port."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, name="metrics-server", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def serve_metrics(
    recorder: Recorder, host: str, port: int, *, live: HealthCheck = healthy, ready: HealthCheck = healthy
) -> MetricsServer:
    """Serve `/metrics`, `/livez` and `/readyz` on `host:port` (0 picks a free port) from a daemon thread.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version = "riverlight"
        sys_version = ""
        timeout = 5  # a client that sends nothing does not keep its thread

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    body, content_type = recorder.render(self.headers.get("Accept", ""))
                    self._answer(200, body, content_type)
                case "/livez":
                    self._health(live)
                case "/readyz":
                    self._health(ready)
                case _:
                    self._answer(404, b"only /metrics, /livez and /readyz are here\n", "text/plain; charset=utf-8")

        def _health(self, check: HealthCheck) -> None:
            ok, why = check()
            self._answer(200 if ok else 503, ("ok" if ok else why).encode() + b"\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a log line."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return MetricsServer(server)


class MetricsPort:
    """Serves one recorder on a port as soon as it is free: a replica that is replaced may hold it for a while yet."""

    def __init__(self, recorder: Recorder, host: str, port: int, *, retry_s: float = 1.0) -> None:
        """Begin in the background. Port 0: serve nothing."""
        self._stop = threading.Event()
        self._server: MetricsServer | None = None
        self._thread = threading.Thread(
            target=self._serve, args=(recorder, host, port, retry_s), name="metrics-port", daemon=True
        )
        if port:
            self._thread.start()

    def close(self) -> None:
        """Free the port. Closing again changes nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._server is not None:
            self._server.close()
            self._server = None

    def _serve(self, recorder: Recorder, host: str, port: int, retry_s: float) -> None:
        while self._server is None and not self._stop.is_set():
            with suppress(OSError):  # taken
                self._server = serve_metrics(recorder, host, port)
                return
            self._stop.wait(retry_s)
