"""The applications for a Serve config file, which is how a Ray cluster (KubeRay's RayService) is told what to serve.

    applications:
      - name: gateway
        import_path: serving.cluster:gateway
        route_prefix: /
        args: {node_resource: gateway}  # optional: a Ray resource of the nodes that may run it

The settings are those in the environment of the cluster's nodes, with `serving.ray_address` set: Ray is not started
here, and nodes have to reach each other.
"""

from typing import TYPE_CHECKING

from core.errors import ConfigurationError
from core.settings import load_settings
from serving.app import ENCODER, GATEWAY, MODERATOR, build_app

if TYPE_CHECKING:
    from ray.serve import Application


def image_encoder(args: dict[str, str]) -> "Application":
    """Return the image encoder. Raises ConfigurationError."""
    return _application(ENCODER, args)


def moderator(args: dict[str, str]) -> "Application":
    """Return the moderator, which finds the image encoder by its application's name. Raises ConfigurationError."""
    return _application(MODERATOR, args)


def gateway(args: dict[str, str]) -> "Application":
    """Return the gateway, which finds the encoder by its application's name. Raises ConfigurationError."""
    return _application(GATEWAY, args)


def _application(name: str, args: dict[str, str]) -> "Application":
    settings = load_settings()
    if settings.serving.ray_address is None:
        raise ConfigurationError("serving.ray_address is not set: on a cluster it is `auto`")
    if unknown := set(args) - {"node_resource"}:
        raise ConfigurationError(
            f"application {name}: unknown args {', '.join(sorted(unknown))}; there is node_resource"
        )
    node_resources = {name: args["node_resource"]} if args else {}
    applications = build_app(settings, node_resources)
    if name not in applications:
        raise ConfigurationError(f"application {name} is not served: moderation.enabled is false")
    return applications[name]
