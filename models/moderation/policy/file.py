"""The policy in force: read from its file, and again whenever that changes."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError
from models.moderation.policy.load import load_policy, parse_policy, read_policy
from models.moderation.policy.schema import Policy


@dataclass(frozen=True)
class PolicyState:
    """What is in force, and what is wrong with the file if it says something else."""

    policy: Policy
    source: str
    error: str = ""  # why the file is not in force; empty when it is
    changes: int = 0  # how many times another policy came into force


class PolicyFile:
    """Holds the policy in force. Call `check` every `moderation.policy_check_s`; it reads and hashes the file.

    New content counts once two checks in a row have seen the same bytes: half a file that an editor is still writing
    can be a valid policy without its last rules. An invalid file, or none, leaves what was in force where it is, and
    the state says why. Only the first load fails: a process does not start with a policy that nobody wrote.
    `policy` and `state` can be read from any thread.
    """

    def __init__(self, path: Path | None, *, on_change: Callable[[PolicyState], None] | None = None) -> None:
        """Load the file at `path`, or the packaged policy for None. `on_change` hears of every new state, this too.

        Raises ConfigurationError when the file cannot be used.
        """
        self._path = path
        self._on_change = on_change
        self._lock = threading.Lock()
        self._read = self._seen = b""  # digests: of what was parsed last, of what the last check saw
        if path is None:
            self._state = PolicyState(load_policy(None), "default")
        else:
            content = read_policy(path)
            self._read = self._seen = hashlib.sha256(content).digest()
            self._state = PolicyState(parse_policy(content, source=str(path)), str(path))
        self._tell()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._state.policy

    @property
    def state(self) -> PolicyState:
        """The policy in force and what is wrong with the file."""
        return self._state

    def check(self) -> bool:
        """Look at the file and return whether another policy is in force now. Raises nothing about the file."""
        if self._path is None:
            return False
        with self._lock:
            before = self._state
            try:
                self._state = self._look(self._path)
            except ConfigurationError as error:
                self._state = PolicyState(before.policy, before.source, str(error), before.changes)
            if self._state != before:
                self._tell()
            return self._state.changes != before.changes

    def _look(self, path: Path) -> PolicyState:
        before = self._state
        try:
            content = read_policy(path)
        except ConfigurationError:
            self._read = self._seen = b""  # when it is back it is read again, whatever it holds
            raise
        digest = hashlib.sha256(content).digest()
        settled = digest == self._seen
        self._seen = digest
        if not settled or digest == self._read:
            return before
        self._read = digest
        policy = parse_policy(content, source=str(path))
        if policy.version == before.policy.version:
            return PolicyState(before.policy, before.source, "", before.changes)
        return PolicyState(policy, before.source, "", before.changes + 1)

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change(self._state)
