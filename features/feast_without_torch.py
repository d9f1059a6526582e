"""Imports Feast without what it brings along unasked. Imported before Feast wherever Feast is.

Feast imports torch, where it is installed, for an output format that is not used here; that costs each process some
400 MB and 4 s. Feast copes with its absence (`feast.torch_wrapper`), so torch is hidden while Feast is imported, unless
the process has it already. Afterwards torch can be imported as ever.

Feast also has typeguard rewrite its classes, so that each call checks its arguments: 4 s of CPU at the import, and
more at every read and write. typeguard leaves a class as it is under `python -O`; here that is had without the rest.

And Feast sets the variables that make prometheus_client share its values between processes through files, in a
temporary folder of each process: metrics of the same name would be one, and every child process would inherit it.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import prometheus_client  # noqa: F401  # before Feast: it decides at its import where values are kept
import typeguard

_SHARED_METRICS = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")


@contextmanager
def _own_metrics() -> Iterator[None]:
    """Let Feast find its variables set, and leave them as they were."""
    before = {name: os.environ.get(name) for name in _SHARED_METRICS}
    os.environ.update({name: value or "" for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Stand for `typeguard.typechecked`, as a decorator with or without arguments."""
    as_it_is: Callable[[Any], Any] = lambda wrapped: wrapped  # noqa: E731
    return target if target is not None else as_it_is


if "feast" not in sys.modules:
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` an ImportError
    checked = typeguard.typechecked
    typeguard.typechecked = _unchecked  # type: ignore[assignment]
    try:
        with _own_metrics():
            import feast  # noqa: F401
    finally:
        typeguard.typechecked = checked
        if hidden:
            del sys.modules["torch"]
