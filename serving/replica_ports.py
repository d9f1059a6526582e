"""Keeps the port between replicas on this machine.

Each replica of Ray Serve opens a gRPC server for calls from other replicas, on every interface: `[::]:0` is written in
its code, and no setting changes it. On a Ray of one machine nobody else has business there.
"""

import sys
from typing import Any

from core.settings import ServingSettings

_EVERYWHERE, _HERE = "[::]:0", "127.0.0.1:0"


def bind_replica_ports_here(serving: ServingSettings) -> None:
    """Make the replica that this is called in bind its gRPC server to 127.0.0.1. Call it in a deployment's constructor.

    Nothing happens outside a replica, and on a cluster, where other nodes have to reach it.
    """
    replica: Any = sys.modules.get("ray.serve._private.replica")
    if replica is None or serving.ray_address is not None:
        return
    add_port = replica.add_port_to_grpc_server
    if getattr(add_port, "here", False):
        return

    def add_port_here(server: Any, address: str) -> Any:
        return add_port(server, _HERE if address == _EVERYWHERE else address)

    add_port_here.here = True  # type: ignore[attr-defined]
    replica.add_port_to_grpc_server = add_port_here
