"""Readiness checks: small questions with short timeouts."""

import http.client

from core.errors import RiverlightError
from infra.broker import probe
from infra.supervisor.spec import ReadyCheck


def http_ready(host: str, port: int, path: str = "/readyz", timeout_s: float = 1.5) -> ReadyCheck:
    """Return a check that is content with status 200; what else is answered is the reason."""

    def check() -> str | None:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            said = response.read(400).decode("utf-8", "replace").strip()
            return None if response.status == 200 else f"{path} answers {response.status}: {said}"
        except (OSError, http.client.HTTPException) as error:
            return f"{path} does not answer yet ({error or type(error).__name__})"
        finally:
            connection.close()

    return check


def broker_ready(bootstrap: str) -> ReadyCheck:
    """Return a check that is content when a broker answers a metadata request."""

    def check() -> str | None:
        try:
            probe.ask(bootstrap, timeout_s=1.0)
            return None
        except RiverlightError as error:
            return str(error)

    return check
