"""Whoever trains in this process does not pay for Ray."""

import subprocess
import sys

SCRIPT = """
import sys
import infra.cli.recommendation, models.recommendation.train, models.training.on_ray, models.training.ray_cluster
from infra.cli.ray_training import RayOptions
from core.settings import Settings
with RayOptions().trainer(Settings()) as trainer:
    assert trainer is None
assert "ray" not in sys.modules, [name for name in sys.modules if name.startswith("ray.")]
"""


def test_ray_is_not_imported_until_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
