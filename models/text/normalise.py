"""Undoing what hides words from a machine and not from a reader, and telling what of it a text had.

Only disguises are undone: a word that is all Cyrillic stays Cyrillic, a number stays a number, and a text that hides
nothing comes back as it was but for compatibility forms (NFKC) and white space.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.text.leet import unleet
from models.text.lookalikes import in_one_script, unstyled

MAX_CHARACTERS = 20_000
_PASSES = 6  # undoing one disguise can show another; two are nearly always enough

#: An ASCII text without any of these is only trimmed.
_ODD_ASCII = re.compile(
    r"[\x00-\x1f\x7f]|[A-Za-z][0-9@$!]|[0-9@$!][A-Za-z]|([A-Za-z])\1\1|(?<!\w)[A-Za-z][ ._*-][A-Za-z](?!\w)"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"[\s\u2800]+")

_OVERRIDES = re.compile("[\u202d\u202e]")  # text that is shown backwards
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_JOINERS = re.compile("[\u200c\u200d]")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]"
)
_USES_JOINERS = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ua8e0-\ua8ff\ufb50-\ufdff\ufe70-\ufeff]"
)
_PICTURE = re.compile("[\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff]")
_BLACK_FLAG = "\U0001f3f4"

_LETTER_FORMS = re.compile(
    "[\u1d2c-\u1d6a\u2090-\u209c\u2100-\u214f\u24b6-\u24e9\U0001d400-\U0001d7ff\U0001f110-\U0001f189]"
)
_MARKS = "\u0300-\u036f\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f"
_PILED_MARKS = re.compile(f"[{_MARKS}]{{3,}}")
_STRUCK_OUT = re.compile("(?<=[^\\W\\d_])[\u0334-\u0338\u20d2\u20d3\u20e5\u20e6]+")
_MIXED_WORD = re.compile(f"[^\\W_][\\w{_MARKS}]*")
_ASCII_LETTER = re.compile("[A-Za-z]")
_CASED = "A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f"
_SPACED = re.compile(f"(?<!\\w)[{_CASED}]([ ._*-])[{_CASED}](?:\\1[{_CASED}]){{2,}}(?!\\w)")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_STRETCHED = re.compile("(?<=[\u0620-\u064a])\u0640+(?=[\u0620-\u064a])")


@dataclass(frozen=True)
class Normalised:
    """A text as a reader sees it.

    `found` counts the characters of each kind of disguise: `invisible`, `overrides` (of direction), `letterforms`,
    `marks`, `lookalikes`, `leet`, `spaced`, `repeated`. `changed` is their share of the text, 0 to 1; `cut` says that
    the text was longer than `MAX_CHARACTERS`.
    """

    text: str
    changed: float = 0.0
    found: Mapping[str, int] = field(default_factory=dict)
    cut: bool = False


def normalise(text: str) -> Normalised:
    """Undo disguises. Bounded (`MAX_CHARACTERS`), linear in the length, never raises; twice is the same as once."""
    seen, cut = text[:MAX_CHARACTERS], len(text) > MAX_CHARACTERS
    if seen.isascii() and not _ODD_ASCII.search(seen):
        return Normalised(_SPACE.sub(" ", seen).strip(), cut=cut)
    found: dict[str, int] = {}
    plain = _CONTROL.sub(" ", seen)
    for _ in range(_PASSES):
        before = plain
        for kind, undo in _STEPS:
            plain, count = undo(plain)
            if count:
                found[kind] = found.get(kind, 0) + count
        if plain == before:
            break
    return Normalised(plain, min(1.0, sum(found.values()) / max(len(seen), 1)), found, cut)


def _overrides(text: str) -> tuple[str, int]:
    if not _DIRECTIONS.search(text):
        return text, 0
    return _DIRECTIONS.sub("", text), len(_OVERRIDES.findall(text))


def _invisible(text: str) -> tuple[str, int]:
    """Remove what is not seen, and keep what scripts and pictures need: joiners, selectors, the tags of flags."""
    if text.isascii():
        return text, 0
    text = text.removeprefix("\ufeff")  # a byte order mark hides nothing
    size = len(text)
    text = _INVISIBLE.sub("", text)
    text = _JOINERS.sub(lambda match: match.group() if _joins(match) else "", text)
    text = _SELECTORS.sub(lambda match: match.group()[0] if _selects(match) else "", text)
    text = _TAGS.sub(
        lambda match: match.group()[:7] if text[match.start() - 1 : match.start()] == _BLACK_FLAG else "", text
    )
    return text, size - len(text)


def _joins(match: re.Match[str]) -> bool:
    before, after = match.string[match.start() - 1 : match.start()], match.string[match.end() : match.end() + 1]
    if _USES_JOINERS.match(before):
        return True
    return bool(match.group() == "\u200d" and _PICTURE.match(before) and _PICTURE.match(after))


def _selects(match: re.Match[str]) -> bool:
    before = match.string[match.start() - 1 : match.start()]
    return bool(before) and (not before.isalpha() or before >= "\u2e80")  # a sign, or a Chinese character


def _compatible(text: str) -> tuple[str, int]:
    """Apply NFKC, and small capitals to letters. Full-width letters are no disguise in Chinese and Japanese."""
    if text.isascii():
        return text, 0
    count = len(_LETTER_FORMS.findall(text))
    plain, small = unstyled(unicodedata.normalize("NFKC", text)[:MAX_CHARACTERS])
    return plain, count + small


def _marks(text: str) -> tuple[str, int]:
    if text.isascii():
        return text, 0
    plain = _STRUCK_OUT.sub("", _PILED_MARKS.sub("", text))
    return plain, len(text) - len(plain)


def _lookalikes(text: str) -> tuple[str, int]:
    if text.isascii():
        return text, 0
    changed = 0

    def word(match: re.Match[str]) -> str:
        nonlocal changed
        written = match.group()
        if written.isascii() or not _ASCII_LETTER.search(written):
            return written
        plain = in_one_script(written)
        changed += sum(before != after for before, after in zip(written, plain, strict=True))
        return plain

    return _MIXED_WORD.sub(word, text), changed


def _spaced(text: str) -> tuple[str, int]:
    """Join `k i l l`: four letters or more with the same sign or space between them."""
    plain = _SPACED.sub(lambda match: match.group().replace(match.group(1), ""), text)
    return plain, len(text) - len(plain)


def _repeated(text: str) -> tuple[str, int]:
    """Write letters that are repeated inside words twice (`soooo`), and words of one letter with three (`aaaa`)."""

    def run(match: re.Match[str]) -> str:
        letter, length = match.group(1), len(match.group())
        neighbours = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
        if any(character.isdigit() for character in neighbours):  # 0x7fffffff
            return match.group()
        alone = not any(character.isalpha() for character in neighbours)
        if alone or letter.lower() == letter.upper() or (letter.isupper() and length == 3):  # VIII, www, ㅋㅋㅋ
            return letter * min(length, 3)
        return letter * 2

    plain = _STRETCHED.sub("", _REPEATED.sub(run, text))
    return plain, len(text) - len(plain)


def _white_space(text: str) -> tuple[str, int]:
    return _SPACE.sub(" ", text).strip(), 0


_STEPS: tuple[tuple[str, Callable[[str], tuple[str, int]]], ...] = (
    ("overrides", _overrides),
    ("invisible", _invisible),
    ("letterforms", _compatible),
    ("marks", _marks),
    ("lookalikes", _lookalikes),
    ("spaced", _spaced),
    ("leet", unleet),
    ("repeated", _repeated),
    ("white space", _white_space),
)
