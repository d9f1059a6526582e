import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.settings import AuthSettings
from infra.cli.main import app
from serving.gateway.access import ROUTES


@pytest.fixture
def access(tmp_path, monkeypatch) -> Callable[..., Result]:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, ["access", *arguments])


def test_a_token_of_the_command_line_is_accepted_until_its_key_is_dropped(access, tmp_path):
    assert access("keys", "new").exit_code == 0
    made = access("token", "--role", "reader", "--role", "producer", "--subject", "ada", "--ttl", "90s")
    principal = TokenVerifier(AuthSettings(), tmp_path / "access" / "jwks.json", SystemClock()).verify(
        made.stdout.strip()
    )
    assert (principal.subject, principal.roles) == ("ada", {"reader", "producer"})
    [kid] = json.loads(access("keys", "list", "-o", "json").stdout)
    assert access("keys", "drop", kid).exit_code == 0
    assert json.loads(access("keys", "list", "-o", "json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ttl", "1h"], "max_lifetime_s"),
        (["--ttl", "soon"], "90s"),
        (["--ttl", "0s"], "lives"),
        (["--subject", ""], "subject"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(access, arguments, says):
    access("keys", "new")
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = {"--role": "admin", "--subject": "ada"} | given
    made = access("token", *(part for option in options.items() for part in option))
    assert made.exit_code == 2
    assert says in made.stderr
    assert made.stdout == ""


def test_without_a_key_the_message_says_how_to_make_one(access):
    made = access("token", "--role", "reader", "--subject", "ada")
    assert made.exit_code == 2
    assert "riverlight access keys new" in " ".join(made.stderr.split())


def test_the_table_of_routes_is_the_one_the_gateway_goes_by(access):
    shown = json.loads(access("routes", "-o", "json").stdout)
    assert {(row["method"], row["path"]) for row in shown} == set(ROUTES)
    assert next(row for row in shown if row["path"] == "/livez")["roles"] is None
