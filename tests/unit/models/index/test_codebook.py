"""What the inverted-list kinds learn."""

import numpy as np
import pytest

from core.settings import IndexSettings
from models.index.codebook import Codebook, lists_for
from models.index.vector_files import clustered_vectors

SETTINGS = IndexSettings(kind="ivf_sq8", pq_m=4)


def trained(vectors: np.ndarray, settings: IndexSettings) -> Codebook:
    return Codebook.train(lambda: [vectors], len(vectors), vectors.shape[1], settings)


def test_noisier_vectors_are_searched_further() -> None:
    clear, hard = (trained(clustered_vectors(4_000, 32, seed=2, spread=spread), SETTINGS) for spread in (0.2, 3.0))
    assert clear.probe < hard.probe <= hard.lists


def test_as_many_lists_are_searched_as_the_settings_say() -> None:
    vectors = clustered_vectors(1_000, 16)
    assert trained(vectors, SETTINGS.model_copy(update={"ivf_probe": 3})).probe == 3
    all_of_it = trained(vectors, SETTINGS.model_copy(update={"ivf_recall": 1.0}))
    half = trained(vectors, SETTINGS.model_copy(update={"ivf_recall": 0.5}))
    assert half.probe < all_of_it.probe


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_sq8", "ivf_pq"])
def test_a_codebook_comes_back_from_its_arrays(kind: str) -> None:
    vectors = clustered_vectors(2_000, 16)
    first = trained(vectors, IndexSettings(kind=kind, pq_m=4))
    again = Codebook(first.kind, 16, first.arrays())
    assert (again.id, again.probe, again.lists, again.trained_rows) == (
        first.id,
        first.probe,
        first.lists,
        2_000,
    )
    np.testing.assert_array_equal(again.assign(vectors), first.assign(vectors))


def test_training_is_repeatable() -> None:
    vectors = clustered_vectors(2_000, 16)
    assert trained(vectors, SETTINGS).id == trained(vectors, SETTINGS).id


def test_lists_grow_with_the_index_and_never_beyond_what_can_be_trained() -> None:
    assert lists_for(1_000_000, SETTINGS) == 4_000
    assert lists_for(390, SETTINGS) == 10
    assert lists_for(5, SETTINGS) == 1
    assert lists_for(1_000_000, SETTINGS.model_copy(update={"ivf_lists": 64})) == 64


def test_an_index_four_times_as_large_is_trained_again() -> None:
    codebook = trained(clustered_vectors(1_000, 16), SETTINGS)
    assert not codebook.outgrown(3_999)
    assert codebook.outgrown(4_000)


def test_what_is_learnt_does_not_depend_on_how_the_rows_come() -> None:
    vectors = clustered_vectors(1_500, 16)
    whole = Codebook.train(lambda: [vectors], 1_500, 16, SETTINGS)
    parts = Codebook.train(lambda: (vectors[at : at + 70] for at in range(0, 1_500, 70)), 1_500, 16, SETTINGS)
    assert (whole.id, whole.probe) == (parts.id, parts.probe)


def test_the_lists_searched_hold_the_share_of_true_neighbours_that_was_asked_for() -> None:
    vectors = clustered_vectors(30_000, 32, seed=3, spread=1.5)
    indexed, queries = vectors[500:], vectors[:500]
    codebook = Codebook.train(lambda: [indexed], len(indexed), 32, SETTINGS.model_copy(update={"ivf_recall": 0.9}))
    truth = np.argsort(-(queries @ indexed.T), axis=1)[:, :10]
    cluster = codebook.assign(indexed)[truth]
    searched = [codebook.nearest(query, codebook.probe)[1][0] for query in queries]
    share = np.mean([np.isin(lists, near).mean() for lists, near in zip(cluster, searched, strict=True)])
    assert 0.87 <= share <= 0.93
    assert codebook.probe < codebook.lists / 2


def test_fewer_lists_do_once_the_index_is_denser() -> None:
    vectors = clustered_vectors(40_000, 32, seed=3)
    sparse = vectors[::20]
    codebook = Codebook.train(lambda: [sparse], len(sparse), 32, SETTINGS)
    assert codebook.stale(len(vectors)) and not codebook.stale(len(sparse))
    before = codebook.probe, codebook.id
    codebook.measure(lambda: [vectors], len(vectors), SETTINGS)
    assert codebook.probe < before[0]
    assert codebook.id == before[1]
    assert not codebook.stale(len(vectors))
