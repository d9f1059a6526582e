"""Letters of one script that stand in for those of another, and which way to turn a word that mixes scripts.

A small part of Unicode's confusables (UTS 39), chosen for what is seen in disguised words.
"""

import re

_CYRILLIC = dict(zip("аеорсухіѕјһԁԛԝѵӏАВЕКМНОРСТУХІЅЈӀ", "aeopcyxisjhdqwvlABEKMHOPCTYXISJI", strict=True))
_GREEK = dict(zip("αικνορυχϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "aikvopuxcjABEZHIKMNOPTYXC", strict=True))
_OTHERS = dict(zip("օոսհցզՏՍՕꓑᎪᏴᏟᎬᎻᎫᏦᏞᎷᏢᏚᎢᏙᎳᏃ", "onuhgqSUOPABCEHJKLMPSTVWZ", strict=True))
_RARE = frozenset("ѕјһԁԛԝѵӏЅЈӀϲϳϹ")  # in the languages of their own scripts
#: Turned into Latin as well, but alike only to those who want to see it: they do not make a word Latin.
_VAGUE = dict(zip("кмтнвгпияёКЯИғεητωσγβ", "kmthbrnureKRNfentwoyb", strict=True))
_TO_LATIN = {**_CYRILLIC, **_GREEK, **_OTHERS, **_VAGUE}
#: Latin letters in words of another script: the everyday letters of that script only.
_TO_CYRILLIC = dict(zip("aeopcyxiABEKMHOPCTYX", "аеорсухіАВЕКМНОРСТУХ", strict=True))
_TO_GREEK = dict(zip("oivukaABEZHIKMNOPTYX", "οινυκαΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", strict=True))

_LEAST_LETTERS = 3  # kΩ is no disguise
LATIN, CYRILLIC, GREEK, OTHER = "Latin", "Cyrillic", "Greek", "other"
_BACK = {CYRILLIC: _TO_CYRILLIC, GREEK: _TO_GREEK}

#: Small capitals and letters of phonetic alphabets, which NFKC leaves alone.
_STYLED = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡ", "abcdefghijklmnoprstuvwyzag", strict=True))
_EITHER = f"[A-Za-z{''.join(_STYLED)}]"
_STYLED_WORD = re.compile(f"(?<!{_EITHER}){_EITHER}*[{''.join(_STYLED)}]{_EITHER}*")
_STYLED_TABLE = str.maketrans(_STYLED)


def script(letter: str) -> str:
    """Return the script of a letter, as far as look-alikes are concerned."""
    code = ord(letter)
    if code < 0x250 or 0x1E00 <= code < 0x1F00:
        return LATIN
    if 0x400 <= code < 0x530 or 0x1C80 <= code < 0x1C90:
        return CYRILLIC
    if 0x370 <= code < 0x400 or 0x1F00 <= code < 0x2000:
        return GREEK
    return OTHER


def unstyled(text: str) -> tuple[str, int]:
    """Return a text with words in small capitals in ordinary letters, and how many letters were changed."""
    changed = 0

    def plain(match: re.Match[str]) -> str:
        nonlocal changed
        if len(match.group()) == 1:  # a sign of phonetics
            return match.group()
        word = match.group().translate(_STYLED_TABLE)
        changed += sum(before != after for before, after in zip(match.group(), word, strict=True))
        return word

    return _STYLED_WORD.sub(plain, text), changed


def in_one_script(word: str) -> str:
    """Return a word that mixes Latin with look-alikes in one script; any other word as it is.

    The script is Latin if a letter is surely that (`рaypal` has an l) or is hardly used but as a disguise (`ѕeх`); the
    other's if a letter is surely that; else that of most letters. With such letters on both sides (`PRщик`) the word is
    no disguise.
    """
    scripts = {letter: script(letter) for letter in word if letter.isalpha()}
    foreign = set(scripts.values()) - {LATIN}
    letters = [scripts[letter] for letter in word if letter in scripts]
    if len(foreign) != 1 or LATIN not in letters or len(letters) < _LEAST_LETTERS:
        return word
    back = _BACK.get(foreign.pop(), {})
    surely_latin = any(letter in _RARE or (name == LATIN and letter not in back) for letter, name in scripts.items())
    surely_foreign = any(name != LATIN and letter not in _TO_LATIN for letter, name in scripts.items())
    if surely_latin and surely_foreign:
        return word
    to_latin = surely_latin or (not surely_foreign and 2 * letters.count(LATIN) >= len(letters))
    table = _TO_LATIN if to_latin else back
    return "".join(table.get(letter, letter) for letter in word)
