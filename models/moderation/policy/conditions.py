"""The parts that conditions are compiled to: closures over signals, true, false or None for unknown."""

from collections.abc import Callable
from typing import Any

from models.moderation.policy.signals import Getter, Signals, Value

Condition = Callable[[Signals], bool | None]
Operator = Callable[[Any, Any], bool]


def constant(value: Value) -> Getter:
    """Return what ignores the signals."""
    return lambda _: value


def compare(operator: Operator, left: Getter, right: Getter) -> Condition:
    """Compare two values; unknown when one is unknown, or no number."""

    def holds(at: Signals) -> bool | None:
        a, b = left(at), right(at)
        if a is None or b is None or a != a or b != b:  # unknown, or not a number
            return None
        return operator(a, b)

    return holds


def among(get: Getter, values: frozenset[Any]) -> Condition:
    """Say whether a value is one of some constants."""

    def holds(at: Signals) -> bool | None:
        value = get(at)
        return None if value is None or value != value else value in values

    return holds


def inside(get: Getter, words: Getter) -> Condition:
    """Say whether a text is in a list of texts."""

    def holds(at: Signals) -> bool | None:
        value, found = get(at), words(at)
        return None if value is None or found is None else value in found  # type: ignore[operator]

    return holds


def text_test(get: Getter, test: Callable[[str], bool]) -> Condition:
    """Ask something of a text."""

    def holds(at: Signals) -> bool | None:
        value = get(at)
        return test(value) if isinstance(value, str) else None

    return holds


def negation(part: Condition) -> Condition:
    """Turn true and false around."""

    def holds(at: Signals) -> bool | None:
        value = part(at)
        return None if value is None else not value

    return holds


def all_of(parts: tuple[Condition, ...]) -> Condition:
    """Say whether all hold: false when any is false, else unknown when any is unknown."""

    def holds(at: Signals) -> bool | None:
        result: bool | None = True
        for part in parts:
            value = part(at)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return holds


def any_of(parts: tuple[Condition, ...]) -> Condition:
    """Say whether any holds: true when any is true, else unknown when any is unknown."""

    def holds(at: Signals) -> bool | None:
        result: bool | None = False
        for part in parts:
            value = part(at)
            if value is True:
                return True
            if value is None:
                result = None
        return result

    return holds
