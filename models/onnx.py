"""ONNX Runtime without its telemetry.

ONNX Runtime 1.32 keeps events (models that were opened, texts of errors) in the user's cache folder, to send them away.
What people wrote or uploaded may be in them: nothing leaves this platform.
"""

import os
from types import ModuleType


def onnx_runtime() -> ModuleType:
    """Import onnxruntime, telling it first to collect nothing; it reads the variable when it is imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    module: ModuleType = onnxruntime
    return module
