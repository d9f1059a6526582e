import math

from hypothesis import given
from hypothesis import strategies as st

from models.text.unigram import UnigramTokenizer

PIECES = ["<s>", "</s>", "<unk>", "▁", "a", "b", "ab", "▁a", "▁ab", "ba"]
SCORES = [0.0, 0.0, 0.0, -2.0, -3.0, -3.5, -4.0, -3.2, -6.5, -4.2]
UNKNOWN = 2


def tokenizer() -> UnigramTokenizer:
    return UnigramTokenizer(
        PIECES, SCORES, unknown=UNKNOWN, special=[0, 1], replacements={ord("B"): "b", 1: "", 9: " "}
    )


def best_by_trying_all(word: str) -> float:
    """The best score of any split, by recursion; an unknown character costs 10 more than the least probable piece."""
    known = dict(zip(PIECES[3:], SCORES[3:], strict=True))

    def best(rest: str) -> float:
        if not rest:
            return 0.0
        choices = [min(SCORES) - 10 + best(rest[1:])]
        choices += [known[rest[:n]] + best(rest[n:]) for n in range(1, len(rest) + 1) if rest[:n] in known]
        return max(choices)

    return best("▁" + word)


@given(st.text("abc", min_size=1, max_size=9))
def test_the_split_is_the_most_probable_one(word: str) -> None:
    ids = tokenizer().encode(word, 100)
    score = sum(SCORES[number] for number in ids if number != UNKNOWN)
    unknown = word.count("c")
    assert math.isclose(score + unknown * (min(SCORES) - 10), best_by_trying_all(word))
    assert len(ids) == len(
        [1 for before, after in zip([-1, *ids], ids, strict=False) if before != after or after != UNKNOWN]
    )


@given(st.text("abc", min_size=1, max_size=9))
def test_the_pieces_spell_the_word(word: str) -> None:
    spelt = "".join("?" if number == UNKNOWN else PIECES[number] for number in tokenizer().encode(word, 100))
    shown = "▁" + word
    while "cc" in shown:
        shown = shown.replace("cc", "c")
    assert spelt == shown.replace("c", "?")


def test_words_are_split_on_their_own_and_in_order() -> None:
    split = tokenizer()
    assert split.encode("ab ba", 100) == split.encode("ab", 100) + split.encode("ba", 100)
    assert split.encode("  ab \n ba ", 100) == split.encode("ab ba", 100)
    assert split.encode("", 100) == []


def test_replacements_are_made_first() -> None:
    assert tokenizer().encode("a\x01B\tba", 100) == tokenizer().encode("ab ba", 100)


def test_no_more_than_the_limit_is_returned() -> None:
    assert tokenizer().encode("ab ba ab ba", 3) == tokenizer().encode("ab ba ab ba", 100)[:3]


def test_a_text_cannot_write_special_pieces() -> None:
    assert not {0, 1} & set(tokenizer().encode("</s> <s>a</s> <unk>", 100))
