"""A post's text in pieces, those marked that speak for a harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.moderation import HARM_CLASSES, Evidence, HarmClass, MediaEvidence, TextEvidence
from serving.moderation.highlights import pieces, regions

TEXT = "They should all be driven out of town. Buy now!"


def words(quote: str, harm: HarmClass = "hate", weight: float = 0.3, start: int | None = None) -> TextEvidence:
    at = TEXT.index(quote) if start is None else start
    return TextEvidence(harm=harm, start=at, end=at + len(quote), quote=quote, weight=weight)


def marked(text: str, *evidence: Evidence) -> list[tuple[str, list[str]]]:
    return [(one.text, [harm for harm, _ in one.harms]) for one in pieces(text, evidence)]


def test_a_text_without_evidence_is_one_piece() -> None:
    assert marked(TEXT) == [(TEXT, [])]
    assert marked("") == []


def test_what_speaks_for_a_harm_is_marked_where_it_stands() -> None:
    assert marked(TEXT, words("driven out"), words("Buy now", "spam")) == [
        ("They should all be ", []),
        ("driven out", ["hate"]),
        (" of town. ", []),
        ("Buy now", ["spam"]),
        ("!", []),
    ]


def test_pieces_that_overlap_name_every_harm_the_strongest_first() -> None:
    found = marked(TEXT, words("be driven out"), words("driven out of", "violence", 0.5))
    assert found[1:4] == [("be ", ["hate"]), ("driven out", ["violence", "hate"]), (" of", ["violence"])]


def test_evidence_of_an_older_version_is_marked_where_its_words_stand_now_or_not_at_all() -> None:
    assert ("driven out", ["hate"]) in marked(TEXT, words("driven out", start=3))
    gone = TextEvidence(harm="hate", start=0, end=4, quote="Gone", weight=0.4)
    assert marked(TEXT, gone) == [(TEXT, [])]


def test_regions_are_by_medium() -> None:
    part = MediaEvidence(harm="nudity", media_id="a", weight=0.4, region=(0, 0, 0.5, 0.5))
    whole = MediaEvidence(harm="nudity", media_id="b", weight=0.4)
    assert regions([part, words("Buy"), whole]) == {"a": [part], "b": [whole]}


@given(
    st.text(max_size=40),
    st.lists(
        st.tuples(
            st.sampled_from(HARM_CLASSES),
            st.integers(-50, 50),
            st.integers(-50, 50),
            st.text(max_size=5),
            st.floats(allow_nan=False),
        ),
        max_size=8,
    ),
)
def test_whatever_the_evidence_says_the_text_stays_whole(
    text: str, given_evidence: list[tuple[HarmClass, int, int, str, float]]
) -> None:
    evidence = [
        TextEvidence(harm=harm, start=start, end=end, quote=quote or text[start:end], weight=weight)
        for harm, start, end, quote, weight in given_evidence
    ]
    assert "".join(one.text for one in pieces(text, evidence)) == text


@pytest.mark.parametrize("text", ["", "a"])
def test_evidence_of_nothing_marks_nothing(text: str) -> None:
    assert all(not harms for _, harms in marked(text, TextEvidence(harm="hate", start=0, end=0, quote="", weight=1)))
