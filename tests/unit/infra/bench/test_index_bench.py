"""The index benchmark measures what it says."""

import json
from pathlib import Path

import numpy as np
import pytest

from infra.bench.index import OURS, write_data
from infra.bench.index_subject import Changed, Data, K, Live, Plain, search_quietly, search_while_adding


@pytest.fixture
def data(tmp_path: Path) -> Data:
    write_data(tmp_path, 1_500, 400, 16, spread=0.8)
    return Data.at(tmp_path)


def test_the_data_are_rows_queries_and_the_queries_true_neighbours(data: Data) -> None:
    rows, queries, truth = data.rows(0, data.n), data.queries(), data.truth()
    assert (rows.shape, queries.shape, data.rows(data.n, data.n + 400).shape) == ((1_500, 16), (1_000, 16), (400, 16))
    expected = np.sort(queries @ rows.T, axis=1)[:, ::-1][:, : truth.shape[1]]
    np.testing.assert_allclose(np.take_along_axis(queries @ rows.T, truth, axis=1), expected, atol=2e-3)
    assert json.loads((data.folder / "data.json").read_text()) == {"n": 1_500, "dim": 16}


@pytest.mark.parametrize("name", ["faiss Flat", "faiss IVF-Flat", "faiss HNSW32"])
def test_every_baseline_finds_nearly_everything(data: Data, name: str) -> None:
    baseline = Plain(name)
    baseline.build(data)
    assert search_quietly(baseline, data, 100, Changed())["recall"] >= 0.94


def test_searching_while_items_are_added_counts_those_that_were_there(data: Data) -> None:
    ours = Live(OURS)
    ours.build(data)
    changed = Changed()
    assert search_quietly(ours, data, 100, changed)["recall"] >= 0.95
    for number in (1, 2):  # what a round has changed is there in the next one, too
        answer = search_while_adding(ours, data, 0.8, 200, changed)
        assert answer["recall"] >= 0.95
        assert 1 <= answer["added"] <= 200
        assert answer["removed"] == -(-answer["added"] // 10)
        assert search_quietly(ours, data, 100, changed)["recall"] >= 0.95, f"after round {number}"
    assert len(ours.index) == data.n + changed.added - len(changed.gone)
    assert len(ours.search(data.queries()[0])) == K
    ours.index.close()
