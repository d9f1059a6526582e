"""Keeps the port between replicas on this machine, where Ray itself is.

Each replica of Ray Serve opens a gRPC server for calls from other replicas, on every interface: `[::]:0` is written in
its code, and no setting changes it. Where Ray's own address is 127.0.0.1 nobody else has business there.
"""

import ipaddress
import sys
from typing import Any

_EVERYWHERE, _HERE = "[::]:0", "127.0.0.1:0"


def bind_replica_ports_here() -> None:
    """Make the replica that this is called in bind its gRPC server to 127.0.0.1. Call it in a deployment's constructor.

    Nothing happens outside a replica, and in a cluster, where other nodes have to reach it.
    """
    replica: Any = sys.modules.get("ray.serve._private.replica")
    if replica is None or not _ray_is_here_alone():
        return
    add_port = replica.add_port_to_grpc_server
    if getattr(add_port, "here", False):
        return

    def add_port_here(server: Any, address: str) -> Any:
        return add_port(server, _HERE if address == _EVERYWHERE else address)

    add_port_here.here = True  # type: ignore[attr-defined]
    replica.add_port_to_grpc_server = add_port_here


def _ray_is_here_alone() -> bool:
    import ray

    return ray.is_initialized() and ipaddress.ip_address(ray.util.get_node_ip_address()).is_loopback
