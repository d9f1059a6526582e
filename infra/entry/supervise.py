"""The supervisor in the background, as `riverlight up --detach` starts it. `python -m infra.entry.supervise`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from core.errors import RiverlightError
from core.settings import load_settings
from infra.runtime import RuntimeState
from infra.supervisor.control import up


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="supervise", description=__doc__)
    parser.add_argument("--timeout", type=float, required=True, help="seconds in which everything has to be ready")
    given = parser.parse_args(arguments)
    seen: dict[str, str] = {}

    def log(state: RuntimeState, message: str) -> None:
        if message:
            _say(message)
        for process in state.processes:
            if process.state != seen.get(process.name):
                seen[process.name] = process.state
                _say(f"{process.name}: {process.state} {process.reason}".rstrip())

    try:
        state = up(load_settings(), timeout_s=given.timeout, show=log)
    except RiverlightError as error:
        _say(f"error: {error}")
        return 1
    if state.phase == "failed":
        _say(f"error: {state.reason}")
        return 1
    return 0


def _say(line: str) -> None:
    """Write to the supervisor's log, which is this process's output."""
    sys.stdout.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
