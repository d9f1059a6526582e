"""Read a policy from YAML, or say on which line what is wrong and what to write instead."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import ConfigurationError
from models.moderation.policy.schema import Policy

MAX_BYTES = 1 << 20
MAX_DEPTH = 12
PACKAGED = "default.yaml"

Lines = dict[tuple[str | int, ...], int]


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file; None reads the one that ships with the code. Raises ConfigurationError."""
    if path is None:
        return parse_policy(packaged_policy(), source=PACKAGED)
    return parse_policy(read_policy(path), source=str(path))


def packaged_policy() -> bytes:
    """Return the text of the policy that ships with the code."""
    return (files("models.moderation.policy") / PACKAGED).read_bytes()


def read_policy(path: Path) -> bytes:
    """Return the bytes of a policy file. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror or error}); set moderation.policy to a policy file, or leave it "
            "unset for the one that ships with the code"
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path}: a policy has at most {MAX_BYTES:,} bytes")
    return content


def parse_policy(content: bytes | str, *, source: str = "policy") -> Policy:
    """Return the policy that YAML says. Raises ConfigurationError: one line per mistake, `source:line: …`."""
    data, lines = _parse_yaml(content, source)
    if not isinstance(data, dict):
        raise ConfigurationError(f"{source}:1: a policy is a mapping with name, classes, …; see docs/how-to/policy.md")
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        messages = sorted(_messages(error, lines))
        raise ConfigurationError("\n".join(f"{source}:{line}: {message}" for line, message in messages)) from error


def _parse_yaml(content: bytes | str, source: str) -> tuple[Any, Lines]:
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        _check_events(text, source)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            lines: Lines = {}
            if node is None:
                return None, lines
            _note_lines(node, (), lines, source)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source}: not UTF-8 text (byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = "" if mark is None else f":{mark.line + 1}"
        raise ConfigurationError(f"{source}{at}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # a character YAML has not, a date that does not exist
        raise ConfigurationError(f"{source}: not YAML: {error}") from error


def _check_events(text: str, source: str) -> None:
    """Refuse what can make a small file large or deep, before anything is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigurationError(f"{source}:{line}: *{event.anchor} is not supported; write it out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigurationError(f"{source}:{line}: nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _note_lines(node: yaml.Node, path: tuple[str | int, ...], lines: Lines, source: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise ConfigurationError(f"{source}:{line}: a key must be a plain word")
            if key.value in seen:
                raise ConfigurationError(f"{source}:{line}: {_dotted((*path, key.value))} is there twice")
            seen.add(key.value)
            lines[(*path, key.value)] = line
            _note_lines(value, (*path, key.value), lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _note_lines(value, (*path, position), lines, source)


def _messages(error: ValidationError, lines: Lines) -> Iterator[tuple[int, str]]:
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        yield _line(path, lines), _message(path, detail)


def _message(path: tuple[str | int, ...], detail: Mapping[str, Any]) -> str:
    name = _dotted(path) or "the policy"
    match detail["type"]:
        case "missing":
            return f"{name} is missing; add it"
        case "extra_forbidden":
            return f"{name} is unknown; {_known_fields(path)}"
        case "value_error":
            return f"{name}: {detail['ctx']['error']}"
        case "string_pattern_mismatch":
            return f"{name}: {detail['input']!r} must be small letters, digits and hyphens, at most 64"
    said = str(detail["msg"])
    return f"{name}: {said[:1].lower()}{said[1:]}; found {_shortened(detail['input'])}"


def _known_fields(path: Sequence[str | int]) -> str:
    """Say which fields there are where an unknown one was given."""
    part: Any = Policy
    for step in path[:-1]:
        part = _inside(part, step)
    if not (isinstance(part, type) and issubclass(part, BaseModel)):
        return "remove it"
    fields = list(part.model_fields)
    near = difflib.get_close_matches(str(path[-1]), fields, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"


def _inside(part: Any, step: str | int) -> Any:
    if isinstance(part, type) and issubclass(part, BaseModel):
        field = part.model_fields.get(str(step))
        # A number or a key into a list or mapping: `_model_in` has already gone to what that holds.
        return part if field is None else _model_in(field.annotation)
    return None


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _line(path: Sequence[str | int], lines: Lines) -> int:
    for end in range(len(path), -1, -1):
        if (line := lines.get(tuple(path[:end]))) is not None:
            return line
    return 1


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
