"""The applications for a Serve config file, which is how a Ray cluster (KubeRay's RayService) is told what to serve.

    applications:
      - {name: image-encoder, import_path: "serving.cluster:image_encoder", route_prefix: /models/image-encoder}
      - {name: gateway, import_path: "serving.cluster:gateway", route_prefix: /}

The settings are those of the environment of the cluster's nodes; what a deployment may be given besides (replicas,
autoscaling) can be overridden in the file.
"""

from typing import TYPE_CHECKING

from core.settings import load_settings
from serving.app import ENCODER, GATEWAY, build_app

if TYPE_CHECKING:
    from ray.serve import Application


def image_encoder(args: dict[str, str]) -> "Application":
    """Return the image encoder. Takes no arguments."""
    return build_app(load_settings())[ENCODER]


def gateway(args: dict[str, str]) -> "Application":
    """Return the gateway, which finds the encoder by its application's name. Takes no arguments."""
    return build_app(load_settings())[GATEWAY]
