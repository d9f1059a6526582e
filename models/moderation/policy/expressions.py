"""The conditions of rules: a small language over signals that can neither loop nor reach anything else.

    condition  = either ("or" either)*
    either     = part ("and" part)*
    part       = "not" part | "(" condition ")" | comparison | function | name of a flag
    comparison = operand (("==" | "!=" | "<" | "<=" | ">" | ">=") operand)+ | operand ["not"] "in" (list | name)
    function   = "contains(" name "," text … ")" | "matches(" name "," text ")"

Types are checked when the policy is read. At run time a condition is true, false or unknown, by Kleene's logic: what is
unknown makes the whole unknown unless the rest decides it. `matches` is RE2, whose time is linear in the text.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import NoReturn

import re2

from models.moderation.policy.conditions import (
    Condition,
    Operator,
    all_of,
    among,
    any_of,
    compare,
    constant,
    inside,
    negation,
    text_test,
)
from models.moderation.policy.signals import NAMES, OPEN, Getter, Kind, Signals, find_name

MAX_LENGTH, MAX_DEPTH = 2_000, 20
MAX_PATTERN_MEMORY = 8 << 20  # bytes RE2 may take for one pattern

_OPERATORS: dict[str, Operator] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_][A-Za-z0-9_-]*)*)
    |(?P<sign>[=!<>]=|[<>()\[\],]))""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"and", "or", "not", "in", "true", "false", "contains", "matches"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Expression:
    """A compiled condition and the names it asks for."""

    text: str
    holds: Condition
    names: tuple[str, ...]

    def unknown(self, signals: Signals) -> list[str]:
        """Return the names that are unknown in a case."""
        return [name for name in self.names if (found := find_name(name)) is None or found.get(signals) is None]


def parse_expression(text: str) -> Expression:
    """Compile a condition. Raises ValueError that says what is wrong, at which column, and what is possible."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the condition has {len(text)} characters; {MAX_LENGTH} is the most")
    parser = _Parser(_tokens(text))
    condition = parser.condition(0)
    parser.end()
    return Expression(text, condition, tuple(dict.fromkeys(parser.names)))


@dataclass(frozen=True)
class _Token:
    kind: str  # number, text, name, word, sign, end
    value: str
    column: int


@dataclass(frozen=True)
class _Operand:
    kind: Kind
    get: Getter
    name: str | None  # None for a literal
    column: int


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            column = at + len(text[at:]) - len(text[at:].lstrip()) + 1
            raise ValueError(f"{text[column - 1]!r} at column {column} is not part of the language; {_KNOWN_SIGNS}")
        kind = str(match.lastgroup)
        value = match[kind]
        tokens.append(_Token("word" if kind == "name" and value in _WORDS else kind, value, match.start(kind) + 1))
        at = match.end()
    tokens.append(_Token("end", "the end", len(text) + 1))
    return tokens


_KNOWN_SIGNS = "there are and, or, not, in, == != < <= > >=, ( ), [ ], contains(…), matches(…), 'text' and numbers"


class _Parser:
    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self.names: list[str] = []

    def condition(self, depth: int) -> Condition:
        parts = [self._either(depth)]
        while self._take("or"):
            parts.append(self._either(depth))
        return parts[0] if len(parts) == 1 else any_of(tuple(parts))

    def end(self) -> None:
        token = self._peek()
        if token.kind != "end":
            self._fail(token, f"{token.value!r} is one too many; join conditions with and, or")

    def _either(self, depth: int) -> Condition:
        parts = [self._part(depth)]
        while self._take("and"):
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else all_of(tuple(parts))

    def _part(self, depth: int) -> Condition:
        if depth >= MAX_DEPTH:
            self._fail(self._peek(), f"more than {MAX_DEPTH} brackets and nots in one another")
        if self._take("not"):
            return negation(self._part(depth + 1))
        if self._take("("):
            inner = self.condition(depth + 1)
            self._need(")")
            return inner
        for function, make in (("contains", self._contains), ("matches", self._matches)):
            if self._take(function):
                self._need("(")
                made = make()
                self._need(")")
                return made
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._operand()
        token = self._peek()
        if token.value == "in" or token.value == "not":
            return self._membership(left)
        if token.value not in _OPERATORS:
            if left.kind is not Kind.flag:
                self._fail(token, f"expected a comparison: {left.name or 'this'} is {left.kind.value}, not a condition")
            return left.get  # type: ignore[return-value]  # a flag's getter is a condition
        parts: list[Condition] = []
        while (token := self._peek()).value in _OPERATORS:
            self._at += 1
            right = self._operand()
            self._check_kinds(token, left, right)
            parts.append(compare(_OPERATORS[token.value], left.get, right.get))
            left = right
        return parts[0] if len(parts) == 1 else all_of(tuple(parts))

    def _check_kinds(self, token: _Token, left: _Operand, right: _Operand) -> None:
        if left.name is None and right.name is None:
            self._fail(token, "this compares two constants, which is always the same; name a signal")
        if left.kind is not right.kind:
            self._fail(token, f"this compares {left.kind.value} with {right.kind.value}")
        if left.kind is Kind.words:
            self._fail(token, "a list cannot be compared; write 'word' in LIST")
        if left.kind is not Kind.number and token.value not in ("==", "!="):
            self._fail(token, f"{token.value} is for numbers; {left.kind.value} has == and !=")

    def _membership(self, left: _Operand) -> Condition:
        negated = self._take("not")
        token = self._need("in")
        if self._peek().value == "[":
            items = self._list()
            if left.name is None:
                self._fail(token, "this compares two constants; put the name of a signal before `in`")
            if any(item.kind is not left.kind for item in items):
                self._fail(token, f"{left.name} is {left.kind.value}; so must be everything in the list")
            values = frozenset(item.get(None) for item in items)  # type: ignore[arg-type]  # literals look at nothing
            found = among(left.get, values)
        else:
            right = self._operand()
            if right.kind is not Kind.words or left.kind is not Kind.text:
                self._fail(token, "`in` wants a list: post.language in ['de', 'fr'], or 'example.org' in post.domains")
            found = inside(left.get, right.get)
        return negation(found) if negated else found

    def _list(self) -> list[_Operand]:
        self._need("[")
        items = [self._literal()]
        while self._take(","):
            items.append(self._literal())
        self._need("]")
        return items

    def _contains(self) -> Condition:
        field = self._text_name()
        needles: list[str] = []
        while self._take(","):
            needles.append(self._text().casefold())
        if not needles or not all(needles):
            self._fail(self._peek(), "contains() wants texts to look for: contains(post.text, 'free money')")
        wanted = tuple(needles)
        if field.name == "post.text":  # by far the most usual; folded once for all rules
            return lambda at: any(needle in at.folded_text for needle in wanted)
        return text_test(field.get, lambda text: any(needle in text.casefold() for needle in wanted))

    def _matches(self) -> Condition:
        field = self._text_name()
        self._need(",")
        token = self._peek()
        options = re2.Options()
        options.log_errors, options.max_mem = False, MAX_PATTERN_MEMORY
        try:
            pattern = re2.compile(self._text(), options)
        except re2.error as error:
            detail = error.args[0].decode("utf-8", "replace") if error.args else "not an RE2 pattern"
            self._fail(token, f"the pattern does not compile: {detail}")
        return text_test(field.get, lambda text: pattern.search(text) is not None)

    def _text_name(self) -> _Operand:
        token = self._peek()
        operand = self._operand()
        if operand.name is None or operand.kind is not Kind.text:
            self._fail(token, "expected the name of a text, such as post.text")
        return operand

    def _text(self) -> str:
        token = self._peek()
        if token.kind != "text":
            self._fail(token, f"expected a 'text', found {token.value}")
        self._at += 1
        return _unquote(token.value)

    def _literal(self) -> _Operand:
        operand = self._operand()
        if operand.name is not None:
            self._fail(self._tokens[self._at - 1], "a list holds 'texts' or numbers, no names")
        return operand

    def _operand(self) -> _Operand:
        token = self._peek()
        self._at += 1
        match token.kind:
            case "number":
                return _Operand(Kind.number, constant(float(token.value)), None, token.column)
            case "text":
                return _Operand(Kind.text, constant(_unquote(token.value)), None, token.column)
            case "word" if token.value in ("true", "false"):
                return _Operand(Kind.flag, constant(token.value == "true"), None, token.column)
            case "name":
                found = find_name(token.value)
                if found is None:
                    self._fail(token, f"there is no {token.value!r}{_instead(token.value)}")
                self.names.append(token.value)
                return _Operand(found.kind, found.get, token.value, token.column)
        self._at -= 1
        return self._fail(token, f"expected a name, a number or a 'text', found {token.value!r}")

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, value: str) -> bool:
        token = self._peek()
        if token.kind in ("word", "sign") and token.value == value:
            self._at += 1
            return True
        return False

    def _need(self, value: str) -> _Token:
        token = self._peek()
        if not self._take(value):
            self._fail(token, f"expected {value!r}, found {token.value!r}")
        return token

    def _fail(self, token: _Token, message: str) -> NoReturn:
        raise ValueError(f"column {token.column}: {message}")


def _instead(name: str) -> str:
    near = difflib.get_close_matches(name, NAMES, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    group = name.partition(".")[0]
    of_group = sorted(known for known in NAMES if known.startswith(f"{group}."))
    groups = sorted({known.partition(".")[0] for known in NAMES} | set(OPEN))
    return f"; there are {', '.join(of_group or [f'{known}.…' for known in groups])}"


def _unquote(quoted: str) -> str:
    """Return what quotes hold. Only the quote and the backslash are escaped; other backslashes stay, for patterns."""
    return _ESCAPE.sub(lambda match: match[1] if match[1] in "'\"" else match[0], quoted[1:-1])
