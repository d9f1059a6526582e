"""`riverlight access`: keys and tokens of this installation, and the table of who may call what."""

import re
import sys
from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from core.access.keys import KeyFolder
from core.access.roles import GRANTED, Role
from core.access.tokens import issue
from core.clock import SystemClock
from core.errors import InvalidInput
from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors

app = typer.Typer(no_args_is_help=True, help="Who may call the API: keys, tokens, roles. For those without an "
                  "identity provider; docs/how-to/access.md has the other way.")  # fmt: skip
keys_app = typer.Typer(no_args_is_help=True, help="The keys that this installation signs tokens with.")
app.add_typer(keys_app, name="keys")

_UNITS = {"s": 1, "m": 60, "h": 3600}


@keys_app.command("new")
def new_command(output: OutputOption = OutputFormat.text) -> None:
    """Make a key; tokens are signed with it from now on. Those of the keys before stay valid until they are dropped.

    Example: `riverlight access keys new`
    """
    with errors():
        folder = KeyFolder(load_settings().own_keys_folder)
        key = folder.new(SystemClock().now())
        emit({"kid": key.kid, "public": folder.public_file}, f"{key.kid} in {folder.folder}", output)


@keys_app.command("list")
def list_command(output: OutputOption = OutputFormat.text) -> None:
    """Show the ids of the keys that are accepted, the oldest first; the last one signs.

    Example: `riverlight access keys list`
    """
    with errors():
        ids = KeyFolder(load_settings().own_keys_folder).ids()
        emit(ids, "\n".join(ids) or "no keys; make one with: riverlight access keys new", output)


@keys_app.command("drop")
def drop_command(
    kid: Annotated[str, typer.Argument(help="As `riverlight access keys list` shows it.")],
    output: OutputOption = OutputFormat.text,
) -> None:
    """Forget a key: what it has signed is refused within a second.

    Example: `riverlight access keys drop 20261122T120000-a1b2c3`
    """
    with errors():
        folder = KeyFolder(load_settings().own_keys_folder)
        folder.drop(kid)
        left = folder.ids()
        emit({"dropped": kid, "left": left}, f"dropped {kid}; left: {', '.join(left) or 'none'}", output)


@app.command("token")
def token_command(
    role: Annotated[list[Role], typer.Option(help="May be given several times.")],
    subject: Annotated[str, typer.Option(help="Who the token is for: rates are counted by it.")],
    ttl: Annotated[str, typer.Option(help="How long it lives: 90s, 15m, 1h; at most `auth.max_lifetime_s`.")] = "15m",
    output: OutputOption = OutputFormat.text,
) -> None:
    """Sign a token and write it to standard output.

    Examples:

    * `riverlight access token --role reader --role producer --subject ada --ttl 15m`

    * `curl -H "Authorization: Bearer $(riverlight access token --role reader --subject me)" http://127.0.0.1:8080/v1/index`
    """
    with errors():
        settings = load_settings()
        lifetime = _duration(ttl)
        key = KeyFolder(settings.own_keys_folder).signing()
        token = issue(key, subject=subject, roles=role, lifetime=lifetime, settings=settings.auth, clock=SystemClock())
        if output is OutputFormat.json:
            emit({"token": token, "expires_in_s": lifetime.total_seconds()}, "", output)
        else:
            sys.stdout.write(token + "\n")  # as it is: a console would break the line


@app.command("routes")
def routes_command(output: OutputOption = OutputFormat.text) -> None:
    """Show which roles may call which route of the API.

    Example: `riverlight access routes`
    """
    from serving.gateway.access import ROUTES

    with errors():
        rows = [
            {"method": method, "path": path, "roles": sorted(roles) if roles is not None else None, "rate": kind.value}
            for (method, path), (roles, kind) in ROUTES.items()
        ]
        table = Table("method", "path", *GRANTED, "service", "rate", box=None, header_style="bold")
        for (method, path), (roles, kind) in ROUTES.items():
            marks = ["•" if roles is None or role in roles else "" for role in (*GRANTED, Role.service)]
            table.add_row(method, path + (" (no token)" if roles is None else ""), *marks, kind.value)
        emit(rows, table, output)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smh])", text.strip())
    if match is None:
        raise InvalidInput(f"--ttl {text!r} is no duration; write 90s, 15m or 1h")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
