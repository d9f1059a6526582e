"""What our own processes show when they call the API: a token from a file that is renewed, or one signed here."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from core.access.keys import KeyFolder
from core.access.roles import Role
from core.access.tokens import issue
from core.clock import Clock
from core.errors import Unavailable
from core.settings import AuthSettings, Settings

#: Returns the headers that identify the caller; asked anew for every request.
Headers = Callable[[], dict[str, str]]


def no_headers() -> dict[str, str]:
    """The headers of a caller who has nothing to show."""
    return {}


def credentials(settings: Settings, clock: Clock, *, subject: str, roles: tuple[Role, ...]) -> Headers:
    """Return how this process identifies itself to the API.

    With `auth.token_file`, by the token in it (somebody renews it). Else by tokens signed with this installation's key,
    which needs its private half. Where access is open, by nothing.
    """
    auth = settings.auth
    if auth.mode == "open":
        return no_headers
    if auth.token_file is not None:
        return TokenFile(auth.token_file)
    return SignedHere(settings.own_keys_folder, auth, clock, subject=subject, roles=roles)


class TokenFile:
    """Reads the token anew for each request: it is a few hundred bytes, and always the newest."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> dict[str, str]:
        try:
            return {"authorization": f"Bearer {self._file.read_text().strip()}"}
        except OSError as error:
            raise Unavailable(f"the service token in {self._file} cannot be read: {error.strerror}") from error


class SignedHere:
    """Signs a token, and the next one when half of its life is over."""

    def __init__(
        self, folder: Path, auth: AuthSettings, clock: Clock, *, subject: str, roles: tuple[Role, ...]
    ) -> None:
        self._folder = folder
        self._auth = auth
        self._clock = clock
        self._subject = subject
        self._roles = roles
        self._token = ""
        self._renew_at = float("-inf")

    def __call__(self) -> dict[str, str]:
        """Return the headers. Raises ConfigurationError when there is no key to sign with."""
        if self._clock.monotonic() >= self._renew_at:
            lifetime_s = self._auth.max_lifetime_s
            key = KeyFolder(self._folder).signing()
            self._token = issue(
                key,
                subject=self._subject,
                roles=self._roles,
                lifetime=timedelta(seconds=lifetime_s),
                settings=self._auth,
                clock=self._clock,
            )
            self._renew_at = self._clock.monotonic() + lifetime_s / 2
        return {"authorization": f"Bearer {self._token}"}
