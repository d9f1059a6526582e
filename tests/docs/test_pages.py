"""What the pages say exists, exists: commands and their options, make targets, files, links, settings, imports."""

import ast
import importlib
import io
import re
import shlex
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer

from core.settings import Settings
from infra.cli.main import app
from tests.docs.pages import PAGES, ROOT, fences, inline_code, links, name

_SEPARATORS = {"&&", "||", ";", "|", "&"}
_PACKAGES = {"core", "storage", "models", "features", "monitoring", "serving", "streams", "infra", "tests", "docs"}
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)+/?")
_SETTING = re.compile(r"\bRIVERLIGHT_[A-Z0-9_]+")
_BESIDE_SETTINGS = {"RIVERLIGHT_CONFIG", "RIVERLIGHT_SECRETS"}  # name what settings come from

every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def commands(script: str) -> list[list[str]]:
    """Return the simple commands of a shell script, as words, without comments and assignments."""
    found: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a quotation over several lines: not one of ours, which are short
            continue
        command: list[str] = []
        for word in [*words, ";"]:
            if word in _SEPARATORS:
                if command:
                    found.append(command)
                command = []
            elif command or not re.match(r"\w+=", word):
                command.append(word)
    return found


def inert(command: Any) -> Any:
    """Make a command and those below it check what they are given, and do nothing."""
    command.callback = None
    for below in getattr(command, "commands", {}).values():
        inert(below)
    return command


_LEFT_OUT = re.compile(r"Missing|requires an argument|^ *Usage: .* COMMAND", re.MULTILINE)
_RIVERLIGHT = inert(typer.main.get_command(app))


def problem_of(arguments: list[str], *, complete: bool) -> str | None:
    """Parse the arguments of `riverlight` without running it; return what is wrong. `complete`: nothing is left out."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            _RIVERLIGHT.main(args=arguments, prog_name="riverlight")
        except SystemExit as ended:
            if ended.code in (0, None) or (not complete and _LEFT_OUT.search(said.getvalue())):
                return None
    return said.getvalue() or "it did not end"


def test_the_parser_of_these_tests_knows_right_from_wrong():
    assert problem_of(["up", "--detach"], complete=True) is None
    assert problem_of(["index", "rebuild"], complete=True) is None
    assert "No such option" in str(problem_of(["up", "--detached"], complete=True))
    assert "No such command" in str(problem_of(["index", "rebuilt"], complete=True))
    assert "No such command" in str(problem_of(["upp"], complete=True))
    assert "Missing" in str(problem_of(["dlq", "show"], complete=True))
    assert "Usage" in str(problem_of(["dlq"], complete=True))
    assert problem_of(["dlq"], complete=False) is None
    assert problem_of(["dlq", "show"], complete=False) is None
    script = "a --b c  # d\nX=1 riverlight e && f | g\n"
    assert commands(script) == [["a", "--b", "c"], ["riverlight", "e"], ["f"], ["g"]]


@every_page
def test_every_command_that_a_page_shows_is_one(page: Path):
    shown = [command for fence in fences(page) if fence.language in ("bash", "") for command in commands(fence.text)]
    wrong = {
        shlex.join(words): problem
        for words in shown
        if words[0] == "riverlight" and (problem := problem_of(words[1:], complete=True))
    }
    for code in inline_code(page):
        for words in commands(code) if code.startswith("riverlight ") else []:
            if problem := problem_of(words[1:], complete=False):
                wrong[code] = problem
    assert wrong == {}


@every_page
def test_every_make_target_that_a_page_names_is_in_the_makefile(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    scripts = [*(fence.text for fence in fences(page, "bash")), *inline_code(page)]
    named = {words[1] for script in scripts for words in commands(script) if words[0] == "make" and len(words) > 1}
    assert named - targets == set()


@every_page
def test_every_link_within_the_project_leads_somewhere(page: Path):
    near = [target.partition("#")[0] for target in links(page) if not re.match(r"\w+:", target)]
    assert [target for target in near if target and not (page.parent / target).exists()] == []


@every_page
def test_every_file_that_a_page_names_exists(page: Path):
    named = {code for code in inline_code(page) if _PATH.fullmatch(code) and code.split("/")[0] in _PACKAGES}
    assert {path for path in named if not (ROOT / path).exists()} == set()


@every_page
def test_every_setting_that_a_page_names_exists(page: Path):
    named = set(_SETTING.findall(page.read_text(encoding="utf-8"))) - _BESIDE_SETTINGS
    assert {variable for variable in named if not _is_setting(variable)} == set()


def _is_setting(variable: str) -> bool:
    model = Settings
    *sections, last = variable.removeprefix("RIVERLIGHT_").lower().split("__")
    for section in sections:
        if section not in model.model_fields:
            return False
        model = model.model_fields[section].annotation
    return last in model.model_fields or not last  # `RIVERLIGHT_*`: all of them


@every_page
def test_every_toml_block_is_valid_settings(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT / "docs")  # where no riverlight.toml is
    for fence in fences(page, "toml"):
        Settings(**tomllib.loads(fence.text))


@every_page
def test_every_python_block_imports_what_there_is(page: Path):
    for fence in fences(page, "python"):
        for node in ast.walk(ast.parse(fence.text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [one.name for one in node.names if not hasattr(module, one.name)] == []
            elif isinstance(node, ast.Import):
                for one in node.names:
                    importlib.import_module(one.name)
