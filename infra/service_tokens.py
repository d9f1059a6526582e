"""The tokens that the processes of `riverlight up` show each other: made at the start, renewed while it runs.

They lie in `<home>/run/tokens`, one file a process, for this user's eyes. No process but the supervisor needs the key.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import structlog

from core.access.keys import KeyFolder
from core.access.roles import Role
from core.access.tokens import issue
from core.clock import Clock
from core.errors import ConfigurationError
from core.settings import Settings

_log = structlog.get_logger(__name__)

ROLES: Mapping[str, tuple[Role, ...]] = {
    "worker-content": (Role.service,),  # asks the image encoder and the moderator
    "canary": (Role.producer, Role.reader),
    "prometheus": (Role.service,),  # reads metrics
}
_TRY_AGAIN_S = 10.0


class ServiceTokens:
    """Writes the tokens where access needs them; does nothing where it is open."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Write them for the first time; the first start with tokens makes this installation's key, too.

        Raises:
            ConfigurationError: there are keys, but none to sign with that can be read.
        """
        self._auth = settings.auth
        self._http = settings.http
        self._clock = clock
        self._keys = KeyFolder(settings.own_keys_folder)
        self._folder = settings.home.resolve() / "run" / "tokens"
        self._renew_at = float("inf")
        if settings.auth.mode == "tokens":
            if not self._keys.public_file.exists():
                self._keys.new(clock.now())
            self._write()

    def environment(self, process: str) -> dict[str, str]:
        """Return the variables that tell a process where its token is."""
        return {} if self._auth.mode == "open" else {"RIVERLIGHT_AUTH__TOKEN_FILE": str(self._file(process))}

    def files(self, process: str, *, for_jobs: Sequence[str]) -> dict[str, Path]:
        """Return the token's file of a process, under each of the names."""
        return {} if self._auth.mode == "open" else dict.fromkeys(for_jobs, self._file(process))

    def renew(self) -> None:
        """Write new tokens when a third of the life of the last is over."""
        if self._clock.monotonic() < self._renew_at:
            return
        try:
            self._write()
        except (ConfigurationError, OSError) as error:  # what is out there lasts for a while; the rest must go on
            self._renew_at = self._clock.monotonic() + _TRY_AGAIN_S
            _log.error("service_tokens_not_renewed", error=str(error))

    def describe(self) -> str:
        """Say who may call the API."""
        if self._auth.mode == "open":
            return f"access is open: whoever reaches {self._http.host} is asked for nothing (auth.mode=open)"
        issuers = f"of {self._auth.issuer} and of this installation" if self._auth.issuer else "of this installation"
        return f"access by signed tokens {issuers}; `riverlight access token` makes one"

    def _write(self) -> None:
        key = self._keys.signing()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lifetime = timedelta(seconds=self._auth.max_lifetime_s)
        for process, roles in ROLES.items():
            token = issue(key, subject=process, roles=roles, lifetime=lifetime, settings=self._auth, clock=self._clock)
            arriving = self._folder / f"{process}.arriving"
            with os.fdopen(os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(token)
            arriving.replace(self._file(process))
        self._renew_at = self._clock.monotonic() + self._auth.max_lifetime_s / 3

    def _file(self, process: str) -> Path:
        return self._folder / f"{process}.jwt"
