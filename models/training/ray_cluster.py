"""The Ray that a training runs on: a cluster that is there, or one started here for as long as the training lasts."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from core.errors import InvalidInput, Unavailable
from core.settings import environment_for_now, set_environment

LOCAL = "local"
_PATIENCE_S = 5.0


@contextlib.contextmanager
def ray_cluster(address: str, *, cpus: int) -> Iterator[Path | None]:
    """Connect this process to Ray; yield the private folder of one that was started here.

    Args:
        address: `host:port` of a cluster, `auto` for the one that this machine is a node of, or `local` for one that is
            started here, on loopback, with `cpus` CPUs, and ended afterwards.

    Raises:
        InvalidInput: that is no address that can be trained on.
        Unavailable: nothing answers there, or it is no Ray that this release can talk to.
    """
    if address != LOCAL:
        _check(address)
        set_environment(RAY_USAGE_STATS_ENABLED="0")
        _connect(address)
        try:
            yield None
        finally:
            _disconnect()
        return
    folder = Path(tempfile.mkdtemp(prefix="rl-train-"))  # short: Ray makes sockets in it
    try:
        with environment_for_now(**_on_loopback(folder)):
            _start(folder, cpus)
            try:
                yield folder
            finally:
                _disconnect()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(address: str) -> None:
    """Find out what is wrong with an address before Ray, which waits long and says little, does."""
    if "://" in address:
        raise InvalidInput(
            f"{address} cannot be trained on: this command has to run on a node of the cluster. There, say `auto` or "
            "host:port; from outside, `ray job submit` starts it there"
        )
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise InvalidInput(f"{address!r} is no address of a Ray cluster: say host:port, `auto`, or `{LOCAL}`")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"no Ray cluster answers at {address}: {error}. `ray start --head` starts one; `{LOCAL}` needs none"
        ) from error


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, namespace="riverlight", log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise Unavailable(
            f"cannot train on the Ray cluster at {address}: {error}. Does one run there, of this release of Ray? If it "
            "asks for a token, are RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH set?"
        ) from error


def _start(folder: Path, cpus: int) -> None:
    import ray
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled

    AuthenticationTokenLoader.instance().reset_cache()  # a Ray that ran in this process before had another token
    try:
        ray.init(
            address="local",
            namespace="riverlight",
            num_cpus=cpus,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise Unavailable(f"Ray could not be started here: {error}") from error


def _disconnect() -> None:
    import ray

    ray.shutdown()


def _on_loopback(folder: Path) -> dict[str, str]:
    """Return the variables that keep others away from a Ray started here, who could run code in it.

    The first makes it take 127.0.0.1 for its own address (the name is historical), and it asks for a token besides.
    """
    token = folder / "token"
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_hex(32))
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes this machine away
    }
