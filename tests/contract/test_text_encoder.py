"""What every `TextEncoder` does, whatever model is behind it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.ports import TextEncoder
from core.settings import TextEncoderSettings
from models.text.load import load_text_encoder
from tests.fakes.text_encoder import FakeTextEncoder
from tests.unit.models.text.tiny_models import tiny_bert

POSTS = [
    "the cat sleeps on the warm sofa",
    "a cat is sleeping on the sofa",
    "the stock market fell sharply after the bank raised rates",
    "short",
    "a much longer post about nothing in particular, " * 6,
]
HOSTILE = {
    "empty": "",
    "spaces": " \t\n  ",
    "NUL": "before\0after",
    "a megabyte": "word " * 200_000,
    "a megabyte without a space": "a" * 1_000_000,
    "binary": bytes(range(256)).decode("latin-1") * 20,
    "lone surrogates": "\ud800 text \udfff\udc00",
    "what NFKC makes 18 times longer": "\ufdfa" * 50_000,
    "combining marks": "e" + "\u0301" * 10_000,
    "emoji and joiners": "👩‍👩‍👧‍👦" * 500,
    "private use and unassigned": "\ue000\U0010fffd\u0378" * 300,
    "right to left": "\u202e\u2066abc\u2069 שלום عليكم",
}


def fake(_home: Path) -> TextEncoder:
    return FakeTextEncoder()


def e5(home: Path) -> TextEncoder:
    return load_text_encoder(TextEncoderSettings(memo=0), home)


def e5_on_two_threads(home: Path) -> TextEncoder:
    return load_text_encoder(TextEncoderSettings(memo=0, threads=2), home)


def e5_with_a_memo(home: Path) -> TextEncoder:
    return load_text_encoder(TextEncoderSettings(memo=3), home)


def huggingface(home: Path) -> TextEncoder:
    folder = tiny_bert(home / "bert")
    settings = TextEncoderSettings(kind="huggingface", model=str(folder), prefix="", batch_size=2, memo=0, device="cpu")
    return load_text_encoder(settings, home)


@pytest.fixture(
    scope="module", params=[fake, e5, e5_on_two_threads, e5_with_a_memo, huggingface], ids=lambda make: make.__name__
)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    make: Callable[[Path], TextEncoder] = request.param
    return make(tmp_path_factory.mktemp("home"))


def check(rows: np.ndarray, n: int, encoder: TextEncoder) -> None:
    assert rows.shape == (n, encoder.dim)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_there_is_one_row_of_length_one_for_each_text(encoder: TextEncoder) -> None:
    check(encoder.encode(POSTS), len(POSTS), encoder)


def test_no_texts_have_no_rows(encoder: TextEncoder) -> None:
    check(encoder.encode([]), 0, encoder)


def test_rows_come_in_the_order_of_the_texts_whatever_their_neighbours(encoder: TextEncoder) -> None:
    together = encoder.encode(POSTS)
    alone = np.concatenate([encoder.encode([text]) for text in POSTS])
    backwards = encoder.encode(POSTS[::-1])[::-1]
    assert (together * alone).sum(axis=1).min() > 0.995
    assert (together * backwards).sum(axis=1).min() > 0.995


def test_the_same_text_has_the_same_row(encoder: TextEncoder) -> None:
    rows = encoder.encode([POSTS[0], POSTS[2], POSTS[0]])
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-5)


def test_texts_of_like_meaning_are_nearer_than_others(encoder: TextEncoder) -> None:
    cat, other_cat, bank = encoder.encode(POSTS[:3])
    assert cat @ other_cat > cat @ bank


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_has_a_row_and_leaves_its_neighbours_alone(encoder: TextEncoder, text: str) -> None:
    rows = encoder.encode([POSTS[0], text, POSTS[2]])
    check(rows, 3, encoder)
    plain = encoder.encode([POSTS[0], POSTS[2]])
    assert (rows[[0, 2]] * plain).sum(axis=1).min() > 0.995


def test_what_is_over_the_limit_is_not_read(encoder: TextEncoder) -> None:
    long = "a post that goes on and on " * 2_000
    first, second = encoder.encode([long + "one ending", long + "quite another ending"])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_several_threads_may_encode_at_once(encoder: TextEncoder) -> None:
    expected = encoder.encode(POSTS)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(encoder.encode, [POSTS] * 8):
            np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_the_version_is_a_name_and_a_short_hash(encoder: TextEncoder) -> None:
    name, _, code = encoder.version.partition("/")
    assert name and code
    assert encoder.version == encoder.version.strip()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(), max_size=60), max_size=4))
def test_any_texts_have_rows(encoder: TextEncoder, texts: list[str]) -> None:
    check(encoder.encode(texts), len(texts), encoder)
