"""Local TCP ports: a free one, and who holds a taken one."""

import socket
from dataclasses import dataclass

import psutil

from core.errors import ConfigurationError


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port, as far as this user may know."""

    port: int
    pid: int | None
    name: str

    def __str__(self) -> str:
        return f"port {self.port} is held by {self.name}" + (f" (pid {self.pid})" if self.pid else "")


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def holder(port: int, host: str = "127.0.0.1") -> Holder | None:
    """Return who holds `port` on `host`, or None when it can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return None
        except OSError:
            pass
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return Holder(port, connection.pid, _name(connection.pid))
    except psutil.AccessDenied:
        pass
    return Holder(port, None, "another process")


def require_free(port: int, host: str, setting: str) -> None:
    """Raise ConfigurationError, naming port, holder and setting, when `port` cannot be bound."""
    if taken := holder(port, host):
        variable = "RIVERLIGHT_" + setting.upper().replace(".", "__")
        raise ConfigurationError(f"{taken}; stop it, or set {setting} (environment {variable}) to another port")


def _name(pid: int | None) -> str:
    if pid is None:
        return "another user's process"
    try:
        return " ".join(psutil.Process(pid).cmdline())[:120] or psutil.Process(pid).name()
    except psutil.Error:
        return "a process that has just ended"
