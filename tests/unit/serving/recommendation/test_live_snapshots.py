import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from core.errors import IntegrityError
from serving.recommendation.fingerprint import state_hash
from serving.recommendation.live_state import LiveState, empty_state
from serving.recommendation.snapshots import capture, load_snapshot, write_snapshot
from tests.unit.serving.recommendation.live_events import START, changed, created, deleted, did, erased, hidden, profile

POSITIONS = {"uploads": {0: 5, 1: 7}, "users": {0: 1}, "interactions": {0: 9}}
EPOCHS = {"uploads": "a", "users": "b", "interactions": "c"}


def filled() -> LiveState:
    state = empty_state()
    for n in range(3_000):
        tags = [f"tag{n % 7}", "all"]
        state.apply(created(f"v{n}", n, title=f"title {n}", tags=tags, owner_id=f"c{n % 9}", language=f"l{n % 3}"))
    state.apply(changed("v1", 5_000, title="other", blocked_regions=["DE", "FR"]))
    state.apply(hidden("v2", 5_000))
    state.apply(deleted("v3", 5_000))
    state.apply(deleted("nothing", 5_000))
    state.apply(profile("u1", 1, country="BR", language="pt"))
    for n in range(2_500):
        kind = ("Impression", "Click", "Like", "Hide")[n % 4]
        state.apply(did(kind, f"u{n % 40}", f"v{n % 300}", 6_000 + n, device="tv"))
    state.apply(did("Follow", "u1", "c1", 9_000))
    state.apply(did("Search", "u1", None, 9_000, value="zebra"))
    state.apply(did("Like", "u1", "not-yet", 9_001))
    state.apply(erased("u2", 9_002))
    return state


def save(state: LiveState, folder: Path, keep: int = 2) -> Path:
    return write_snapshot(state, capture(state, POSITIONS, EPOCHS), folder, keep=keep)


def restored(folder: Path) -> LiveState:
    snapshot = load_snapshot(folder, empty_state)
    assert snapshot is not None
    return snapshot.state


def test_a_state_comes_back_equal_and_goes_on_alike(tmp_path):
    state = filled()
    save(state, tmp_path)
    snapshot = load_snapshot(tmp_path, empty_state)
    again = snapshot.state
    assert (snapshot.positions, snapshot.epochs) == (POSITIONS, EPOCHS)
    assert state_hash(again) == state_hash(state)
    assert (again.events, again.clock_s) == (state.events, state.clock_s)
    late = did("Like", "u5", "v299", 9_500)
    for one in (state, again):
        one.apply(created("not-yet", 10_000, tags=["all"]))  # what waited is done now
        one.apply(created("nothing", 4_000))  # its deletion is remembered
        one.apply(did("Like", "u7", "v250", 9_600))
        one.apply(late)
        assert one.apply(late) == "repeated"
    assert state_hash(again) == state_hash(state)
    assert again.audience.viewer("u1", START) == state.audience.viewer("u1", START)
    np.testing.assert_array_equal(again.impressions, state.impressions)
    for ours, theirs in (
        (again.popularity.top(), state.popularity.top()),
        (again.popularity.top_in_country("BR"), state.popularity.top_in_country("BR")),
        (again.popularity.trending(), state.popularity.trending()),
        (again.videos.newest.best(), state.videos.newest.best()),
    ):
        np.testing.assert_array_equal(ours[0][:2_000], theirs[0][:2_000])  # beyond, one may hold more than the other
        np.testing.assert_allclose(ours[1][:2_000], theirs[1][:2_000], rtol=1e-9)
    words = state.videos.words(9)
    for bucket in state.videos.rarest_buckets(words):
        assert set(again.videos.by_word.newest(bucket, 9_999)) == set(state.videos.by_word.newest(bucket, 9_999))
    assert again.videos.by_creator.newest(4, 5).tolist() == state.videos.by_creator.newest(4, 5).tolist()


def test_an_empty_state_comes_back(tmp_path):
    save(empty_state(), tmp_path)
    again = restored(tmp_path)
    assert (again.videos.rows, len(again.audience), again.events) == (0, 0, 0)
    again.apply(created("v"))
    assert again.videos.rows == 1


def test_a_repetition_is_known_after_a_restart(tmp_path):
    state = filled()
    like = did("Like", "u9", "v100", 9_100)
    state.apply(like)
    save(state, tmp_path)
    assert restored(tmp_path).apply(like) == "repeated"


def test_a_snapshot_taken_while_events_are_applied_is_made_whole_by_reading_them_again(tmp_path):
    state = filled()
    applying = threading.Lock()
    later = []
    for n in range(1_500):
        later += [
            created(f"n{n}", 10_000 + n, title=f"new {n}", tags=[f"other{n}"], owner_id=f"d{n}", category=f"k{n}"),
            changed(f"v{n}", 11_000 + n, title=f"changed {n}"),
            did("Like", f"w{n % 50}", f"n{n}", 12_000 + n),
            did("Impression", f"w{n % 50}", f"v{n}", 12_000 + n),
            hidden(f"n{n // 2}", 13_000 + n),
        ]
    captured = capture(state, POSITIONS, EPOCHS)
    begun = threading.Event()

    def apply() -> None:
        for number, event in enumerate(later):
            with applying:
                state.apply(event)
            if number == 500:
                begun.set()

    writer = threading.Thread(target=apply)
    writer.start()
    begun.wait(30)
    write_snapshot(state, captured, tmp_path, keep=1)
    writer.join()
    again = restored(tmp_path)
    for event in later:
        again.apply(event)
    assert state_hash(again) == state_hash(state)


def test_only_the_newest_are_kept(tmp_path):
    state = filled()
    paths = [save(state, tmp_path, keep=2) for _ in range(4)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v3", "v4"]


@pytest.mark.parametrize("name", ["arrays.npz", "lists.msgpack", "audience.msgpack", "manifest.json"])
def test_a_damaged_snapshot_is_passed_over_for_the_one_before(tmp_path, name):
    state = filled()
    save(state, tmp_path)
    before = state_hash(state)
    state.apply(did("Like", "u3", "v3", 9_700))
    file = save(state, tmp_path) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(bytes(data))
    skipped: list[str] = []
    snapshot = load_snapshot(tmp_path, empty_state, on_skipped=skipped.append)
    assert state_hash(snapshot.state) == before
    assert len(skipped) == 1
    assert skipped[0].startswith("v2: ")


@pytest.mark.parametrize("name", ["arrays.npz", "lists.msgpack", "audience.msgpack"])
def test_a_snapshot_without_one_of_its_files_is_passed_over(tmp_path, name):
    (save(filled(), tmp_path) / name).unlink()
    assert load_snapshot(tmp_path, empty_state) is None


def test_a_snapshot_of_a_newer_release_is_an_error_not_a_step_back(tmp_path):
    save(filled(), tmp_path)
    path = save(filled(), tmp_path) / "manifest.json"
    body = json.loads(path.read_text())["body"] | {"format": 99}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps({"body": body, "sha256": digest}))
    with pytest.raises(IntegrityError, match="format 99"):
        load_snapshot(tmp_path, empty_state)


def test_a_snapshot_is_passed_over_when_another_number_of_impressions_is_promised(tmp_path):
    save(filled(), tmp_path)
    skipped: list[str] = []
    assert load_snapshot(tmp_path, lambda: empty_state(promised_impressions=7), on_skipped=skipped.append) is None
    assert "had 100 impressions, and 7 are promised now" in skipped[0]
    assert load_snapshot(tmp_path, empty_state) is not None


def test_there_may_be_none(tmp_path):
    assert load_snapshot(tmp_path / "nowhere", empty_state) is None
