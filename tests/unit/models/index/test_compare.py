"""Measuring index kinds."""

import numpy as np
import pytest

from core.errors import InvalidInput
from core.settings import IndexSettings
from models.index.compare import KINDS, compare_kinds
from models.index.vector_files import clustered_vectors, hold_back

VECTORS, QUERIES = hold_back(clustered_vectors(1_000, 16, seed=8), 40, seed=1)
SETTINGS = IndexSettings(train_at=128, hnsw_m=8)


def test_each_kind_is_measured_and_the_exact_one_finds_everything() -> None:
    results = list(compare_kinds(VECTORS, QUERIES, SETTINGS, ["flat", "ivf_sq8"], k=5))
    assert [(result.kind, result.k) for result in results] == [("flat", 5), ("ivf_sq8", 5)]
    flat, ivf = results
    assert flat.recall >= 0.99  # float16 may swap neighbours that are as near
    assert flat.recall_after_changes == 1.0
    assert 0.8 <= ivf.recall <= 1.0
    for result in results:
        assert result.search_p50_ms <= result.search_p99_ms
        assert result.bytes_per_vector > 16
        assert result.build_s > 0 and result.searches_per_s > 0


def test_wrong_wishes_are_refused_before_anything_is_built() -> None:
    with pytest.raises(InvalidInput, match="no index kind 'ball_tree'"):
        compare_kinds(VECTORS, QUERIES, SETTINGS, ["flat", "ball_tree"])
    with pytest.raises(InvalidInput, match="960"):
        compare_kinds(VECTORS, QUERIES, SETTINGS, KINDS, k=961)
    with pytest.raises(InvalidInput, match="queries have 3 dimensions, the vectors 16"):
        compare_kinds(VECTORS, np.ones((2, 3), dtype=np.float32), SETTINGS)
