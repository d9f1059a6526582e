import os
import subprocess
import sys
from pathlib import Path

SOURCE = """
import numpy as np
from models.media.nsfw import NsfwModel
try:
    NsfwModel().score([np.zeros((8, 8, 3), np.uint8)])
finally:
    import onnxruntime
    try:
        onnxruntime.InferenceSession(b"not a model")
    except Exception as error:
        print(type(error).__name__)
"""


def test_onnx_runtime_keeps_and_sends_nothing_about_what_it_is_given(tmp_path: Path):
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    shown = subprocess.run([sys.executable, "-c", SOURCE], capture_output=True, text=True, env=environment, check=True)
    assert shown.stdout.strip()  # the model was refused, which telemetry would have told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
