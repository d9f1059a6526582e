import pytest

from core.access.keys import KeyFolder
from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.settings import AuthSettings, Settings
from infra.service_tokens import ROLES, ServiceTokens


class LaterClock(SystemClock):
    later_s = 0.0

    def monotonic(self):
        return super().monotonic() + self.later_s


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, auth=AuthSettings(mode="tokens"))


def test_the_first_start_makes_a_key_and_each_process_gets_a_token_of_its_own_that_others_cannot_read(settings):
    tokens = ServiceTokens(settings, SystemClock())
    verifier = TokenVerifier(settings.auth, settings.own_keys_folder / "jwks.json", SystemClock())
    for process, roles in ROLES.items():
        [file] = tokens.files(process, for_jobs=("job",)).values()
        assert file.stat().st_mode & 0o777 == 0o600
        principal = verifier.verify(file.read_text())
        assert (principal.subject, principal.roles) == (process, set(roles))
        assert tokens.environment(process) == {"RIVERLIGHT_AUTH__TOKEN_FILE": str(file)}
    assert not any(Role.admin in roles for roles in ROLES.values())


def test_a_later_start_signs_with_the_key_that_is_there(settings):
    ServiceTokens(settings, SystemClock())
    ServiceTokens(settings, SystemClock())
    assert len(KeyFolder(settings.own_keys_folder).ids()) == 1


def test_tokens_are_renewed_long_before_they_end_and_a_missing_key_does_not_end_the_rest(settings):
    clock = LaterClock()
    tokens = ServiceTokens(settings, clock)
    [file] = tokens.files("canary", for_jobs=("job",)).values()
    first = file.read_text()
    tokens.renew()
    assert file.read_text() == first
    clock.later_s = settings.auth.max_lifetime_s * 0.4
    tokens.renew()
    second = file.read_text()
    assert second != first
    clock.later_s = settings.auth.max_lifetime_s * 0.8
    for key in settings.own_keys_folder.glob("*.pem"):
        key.unlink()
    tokens.renew()
    assert file.read_text() == second
    KeyFolder(settings.own_keys_folder).new(clock.now())
    clock.later_s += 60
    tokens.renew()
    assert file.read_text() != second


def test_where_access_is_open_there_are_no_keys_and_no_tokens(tmp_path):
    tokens = ServiceTokens(Settings(home=tmp_path), SystemClock())
    assert tokens.environment("canary") == {} == tokens.files("canary", for_jobs=("job",))
    assert "open" in tokens.describe() and "127.0.0.1" in tokens.describe()
    assert list(tmp_path.iterdir()) == []
