"""Vectors from files that anybody may hand in."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput
from models.index.vector_files import clustered_chunks, clustered_vectors, exact_neighbours, hold_back, read_vectors


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "i2", "u1"])
def test_numbers_of_any_type_become_rows_of_length_one(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.arange(1, 25).reshape(6, 4).astype(dtype))
    rows = read_vectors(path)
    assert (rows.shape, rows.dtype) == ((6, 4), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows[0], np.arange(1, 5) / np.sqrt(30), rtol=1e-6)


def test_very_long_and_very_short_rows_keep_their_direction(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([[3e30, 4e30], [3e-30, 4e-30]], dtype=np.float32))
    np.testing.assert_allclose(read_vectors(tmp_path / "v.npy"), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-5)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones(8), r"shape \(8,\)"),
        (np.ones((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.ones((0, 4)), r"shape \(0, 4\)"),
        (np.array([["a", "b"]]), "type <U1"),
        (np.ones((2, 2), dtype=complex), "complex128"),
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), "row 1 of .* not finite"),
        (np.array([[1.0, 2.0], [3.0, np.inf]]), "row 1 of .* not finite"),
        (np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]]), "row 2 of .* only zeros"),
    ],
    ids=str,
)
def test_what_holds_no_vectors_is_refused_and_said_why(tmp_path: Path, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(InvalidInput, match=says):
        read_vectors(tmp_path / "v.npy")


def test_a_wrong_row_far_down_is_named_by_its_place_in_the_file(tmp_path: Path) -> None:
    rows = np.ones((20_007, 2), dtype=np.float32)
    rows[20_005, 1] = np.nan
    np.save(tmp_path / "v.npy", rows)
    with pytest.raises(InvalidInput, match="row 20005 "):
        read_vectors(tmp_path / "v.npy")


class RunsWhenUnpickled:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.mark),)


def test_an_array_of_objects_is_refused_without_unpickling_it(tmp_path: Path) -> None:
    trap = RunsWhenUnpickled()
    trap.mark = str(tmp_path / "it-ran")
    np.save(tmp_path / "v.npy", np.array([[trap]], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="no plain array of numbers"):
        read_vectors(tmp_path / "v.npy")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"1,2\n3,4\n", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00garbage"]
)
def test_a_file_that_is_no_npy_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(InvalidInput):
        read_vectors(tmp_path / "v.npy")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((50, 8)))
    (tmp_path / "v.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:-9])
    with pytest.raises(InvalidInput):
        read_vectors(tmp_path / "v.npy")


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.npy", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read_vectors(path)


def test_rows_held_back_are_not_indexed() -> None:
    rows = clustered_vectors(200, 8, seed=3)
    indexed, queries = hold_back(rows, 20, seed=1)
    assert (len(indexed), len(queries)) == (180, 20)
    assert not {row.tobytes() for row in indexed} & {row.tobytes() for row in queries}


def test_exact_neighbours_are_those_of_a_full_sort_whatever_the_chunks() -> None:
    rows = clustered_vectors(300, 16, seed=4)
    expected = np.argsort(-(rows[:20] @ rows.T), axis=1, kind="stable")[:, :7]
    for size in (300, 64, 5):
        parts = (rows[start : start + size] for start in range(0, 300, size))
        np.testing.assert_array_equal(exact_neighbours(parts, rows[:20], 7), expected)


def test_made_up_vectors_are_the_same_again_and_their_clusters_uneven() -> None:
    first, second = (clustered_vectors(5_000, 16, seed=5, spread=0.1) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    near = (first @ first[:200].T > 0.9).sum(axis=0)
    assert near.max() > 10 * near.min()
    assert [len(chunk) for chunk in clustered_chunks(45_000, 2)] == [20_000, 20_000, 5_000]
