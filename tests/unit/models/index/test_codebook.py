"""What the inverted-list kinds learn."""

import numpy as np
import pytest

from core.settings import IndexSettings
from models.index.codebook import Codebook, lists_for, sample_of
from models.index.vector_files import clustered_vectors

SETTINGS = IndexSettings(kind="ivf_sq8", pq_m=4)


def test_noisier_vectors_are_searched_further() -> None:
    clear, hard = (
        Codebook.train(clustered_vectors(4_000, 32, seed=2, spread=spread), 4_000, SETTINGS) for spread in (0.2, 3.0)
    )
    assert clear.probe < hard.probe <= hard.lists


def test_as_many_lists_are_searched_as_the_settings_say() -> None:
    vectors = clustered_vectors(1_000, 16)
    assert Codebook.train(vectors, 1_000, SETTINGS.model_copy(update={"ivf_probe": 3})).probe == 3
    all_of_it = Codebook.train(vectors, 1_000, SETTINGS.model_copy(update={"ivf_recall": 1.0}))
    half = Codebook.train(vectors, 1_000, SETTINGS.model_copy(update={"ivf_recall": 0.5}))
    assert half.probe < all_of_it.probe


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_sq8", "ivf_pq"])
def test_a_codebook_comes_back_from_its_arrays(kind: str) -> None:
    vectors = clustered_vectors(2_000, 16)
    trained = Codebook.train(vectors, 2_000, IndexSettings(kind=kind, pq_m=4))
    again = Codebook(trained.kind, 16, trained.arrays())
    assert (again.id, again.probe, again.lists, again.trained_rows) == (
        trained.id,
        trained.probe,
        trained.lists,
        2_000,
    )
    np.testing.assert_array_equal(again.assign(vectors), trained.assign(vectors))


def test_training_is_repeatable() -> None:
    vectors = clustered_vectors(2_000, 16)
    assert Codebook.train(vectors, 2_000, SETTINGS).id == Codebook.train(vectors, 2_000, SETTINGS).id


def test_lists_grow_with_the_index_and_never_beyond_what_can_be_trained() -> None:
    assert lists_for(1_000_000, SETTINGS) == 4_000
    assert lists_for(390, SETTINGS) == 10
    assert lists_for(5, SETTINGS) == 1
    assert lists_for(1_000_000, SETTINGS.model_copy(update={"ivf_lists": 64})) == 64


def test_an_index_four_times_as_large_is_trained_again() -> None:
    codebook = Codebook.train(clustered_vectors(1_000, 16), 1_000, SETTINGS)
    assert not codebook.outgrown(3_999)
    assert codebook.outgrown(4_000)


def test_a_sample_is_drawn_from_all_chunks() -> None:
    rows = np.arange(100, dtype=np.float16)[:, None]
    sample = sample_of(lambda: (rows[start : start + 30] for start in range(0, 100, 30)), 100, 1, 40)
    assert sample.shape == (40, 1)
    assert len(set(sample[:, 0].tolist())) == 40
    assert sample.min() < 30 and sample.max() >= 90
    assert len(sample_of(lambda: [rows], 100, 1, 500)) == 100
