"""Imports Feast without torch. Imported before Feast wherever Feast is.

Feast imports torch, where it is installed, for an output format that is not used here; that costs each process some
400 MB and 4 s. Feast copes with its absence (`feast.torch_wrapper`), so torch is hidden while Feast is imported, unless
the process has it already. Afterwards torch can be imported as ever.
"""

import sys

if "torch" not in sys.modules and "feast" not in sys.modules:
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` an ImportError
    try:
        import feast  # noqa: F401
    finally:
        del sys.modules["torch"]
