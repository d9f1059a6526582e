"""Digits and signs that stand for letters inside words: `k1ll`, `h4te`, `b!tch`, `a$$`."""

import re

_LETTERS = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "€": "e"}
_TABLE = str.maketrans(_LETTERS)
_SIGNS = re.escape("".join(_LETTERS))
_CHUNK = re.compile(r"\S+")
_ADDRESS = re.compile(r"://|^www\.|^[^@\s]+@[^@\s]+\.\w")
_WORD = re.compile(r"(?<![\w@$€])[A-Za-z0-9@$!€]+(?![\w@$€])")
_INSIDE = re.compile(f"(?<=[A-Za-z])[{_SIGNS}]+(?=[A-Za-z])")
_FIRST = re.compile(f"^[{_SIGNS}](?=[A-Za-z])")
_MENTION = re.compile(r"@[A-Za-z0-9]+")
_DOLLAR = re.compile(r"^\$(?=[a-z]{2,5}$)|(?<=[a-z])\$+$")  # `$ex`, `a$$`; not `US$` or `$AAPL`
_VOWELS = frozenset("aeiou")
_OTHER_DIGIT = re.compile(r"[2689]")
_IS_CODE = re.compile(
    r"(?:\d+[dhms])+|(?:[a-hNBRQK]?[a-h][1-8]){2,}|0x[0-9a-f]+|(?=(?:[a-f]*\d){3})[0-9a-f]{6,}", re.IGNORECASE
)  # durations, chess moves, hexadecimal numbers
#: Words that are written with a digit inside.
_ORDINARY = frozenset(
    {
        "a11y",
        "b1g1",
        "c3po",
        "co3",
        "d3js",
        "e3d",
        "h1b",
        "i3wm",
        "log4j",
        "log4net",
        "m3u",
        "m4a",
        "m4v",
        "mp3s",
        "mp4s",
    }
    | {"no3", "p1p", "s3cmd", "so4", "w3c", "w3schools"}
)


def unleet(text: str) -> tuple[str, int]:
    """Return a text with such words in letters, and how many characters were changed.

    A word looks like it when a sign stands between its letters. Numbers, addresses, mentions, durations, codes and
    words with other digits (`k8s`, `sha256`) stay.
    """
    changed = 0

    def word(match: re.Match[str]) -> str:
        nonlocal changed
        plain = _plain(match.group())
        changed += sum(before != after for before, after in zip(match.group(), plain, strict=True))
        return plain

    def chunk(match: re.Match[str]) -> str:
        return match.group() if _ADDRESS.search(match.group()) else _WORD.sub(word, match.group())

    return _CHUNK.sub(chunk, text), changed


def _plain(written: str) -> str:
    """Return one word in letters, of the same length."""
    word = written.rstrip("!")
    letters = sum(character.isalpha() for character in word)
    runs = _INSIDE.findall(word)
    if letters < 2 and not _DOLLAR.search(word):
        return written
    if word.lower() in _ORDINARY or any(stays.fullmatch(word) for stays in (_MENTION, _IS_CODE)):
        return written
    before, sign, _ = word.partition("!")
    if _OTHER_DIGIT.search(word) or (sign and not _VOWELS.isdisjoint(before.lower())):  # `no!stop`; not `b!tch`
        return written
    plain = _DOLLAR.sub(lambda match: "s" * len(match.group()), word)
    looks_so = all(len(run) <= 2 and (len(set(run)) == 1 or not run.isdigit()) for run in runs) and (
        sum(map(len, runs)) <= letters and (len(word) > 3 or word.islower())
    )
    if runs and looks_so:
        plain = _FIRST.sub(_letters, _INSIDE.sub(_letters, plain))
    return (plain.upper() if word.isupper() else plain) + written[len(word) :]


def _letters(signs: re.Match[str]) -> str:
    return "ll" if signs.group() == "11" else signs.group().translate(_TABLE)
