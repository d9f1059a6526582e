"""Texts are cut at sentences, nothing is lost, and what is left out is said."""

from hypothesis import given
from hypothesis import strategies as st

from serving.moderation.evidence import segments
from serving.moderation.passages import MAX_PASSAGES, passages


@given(st.text(max_size=3_000), st.integers(10, 200))
def test_passages_are_where_they_say_and_short_enough(text: str, length: int) -> None:
    found, whole = passages(text, length=length, most=1_000)
    assert whole
    assert all(text[one.start : one.start + len(one.text)] == one.text and len(one.text) <= length for one in found)
    covered = {place for one in found for place in range(one.start, one.start + len(one.text))}
    assert all(place in covered or text[place].isspace() for place in range(len(text)))


def test_a_cut_is_at_the_end_of_a_sentence_where_there_is_one() -> None:
    found, _ = passages("One two three. Four five six seven eight.", length=26)
    assert [one.text for one in found] == ["One two three. ", "Four five six seven eight."]


def test_of_a_very_long_text_beginning_and_end_are_kept() -> None:
    found, whole = passages("word " * 5_000 + "end", length=100)
    assert not whole
    assert len(found) == MAX_PASSAGES
    assert found[0].start == 0
    assert found[-1].text.endswith("end")


@given(st.text(max_size=500), st.integers(1, 12))
def test_segments_are_whole_words_in_order_and_few(text: str, most: int) -> None:
    found = segments(text, most)
    assert len(found) <= most
    assert [text[a:b] for a, b in found if text[a:b] != text[a:b].strip()] == []
    assert " ".join(" ".join(text[a:b].split()) for a, b in found) == " ".join(text.split())
