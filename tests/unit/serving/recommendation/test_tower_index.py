"""New videos are found by the two towers as soon as they are indexed, and follow their changes."""

from dataclasses import replace

import pytest

from core.events import Upload
from models.recommendation.described import video_cells as cells_of_upload
from serving.recommendation.trained.parts import NEW_VIDEOS, system_over
from serving.recommendation.trained.tower_index import embeds_new, video_cells
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation.trained_world import NEW, feedback, live_state, loaded


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("model"))


@pytest.fixture
def over(system):
    made = system_over(system, live_state())
    made.catch_up()
    yield made
    made.close()


def proposed(over, user_id="u3"):
    [generator] = [one for one in over.parts.generators if one.name == NEW_VIDEOS]
    found = generator.propose(over.state.audience.viewer(user_id, ev.at(2e6)), 250)
    return {
        over.state.videos.item_id(int(row)): float(score) for row, score in zip(found.rows, found.scores, strict=True)
    }


def test_new_videos_are_proposed_by_their_features_and_those_of_the_training_are_not(over, system):
    found = proposed(over)
    assert set(found) == set(NEW)
    users = over.state.audience.viewer("u3", ev.at(2e6))
    [generator] = [one for one in over.parts.generators if one.name == NEW_VIDEOS]
    vector = generator._tower.user_vector(users)
    features = system.item_encoder.encode([{"title": "about new0", "tags": ""}])
    assert found["new0"] == pytest.approx(float(vector @ system.tower.new_item_vectors(features)[0]), abs=1e-3)


def test_a_video_is_found_once_it_is_indexed_and_leaves_when_it_is_deleted(over):
    over.state.apply(ev.created("later", 100, tags=["calm"]))
    assert "later" not in proposed(over)
    assert over.catch_up() == 1
    assert "later" in proposed(over)
    over.state.apply(ev.deleted("later", 200))
    assert "later" not in proposed(over)
    size = len(over.indexes[0].index)
    assert over.catch_up() == 1
    assert len(over.indexes[0].index) == size - 1
    assert over.catch_up() == 0


def test_a_changed_video_moves(over):
    before = proposed(over)["new0"]
    tags = [["loud"], ["calm"]]
    scores = []
    for second, changed in enumerate(tags):
        over.state.apply(ev.changed("new0", 100 + second, tags=changed))
        over.catch_up()
        scores.append(proposed(over)["new0"])
    assert len({round(score, 4) for score in (before, *scores)}) == 3


def test_a_video_is_described_as_in_training(over):
    upload = Upload(
        item_id="film",
        owner_id="somebody",
        kind="video",
        media_id="0" * 64,
        title="A day at sea",
        tags=["boats", "a|b"],
        category="travel",
        language="no",
    )
    over.state.apply(ev.make(ev.events.UploadCreated, "film", upload, 50))
    assert video_cells(over.state.videos, over.state.videos.row_of("film")) == cells_of_upload(upload)
    over.state.apply(ev.created("bare", 60))
    assert video_cells(over.state.videos, over.state.videos.row_of("bare"))["language"] == ""


def test_what_knows_items_by_id_alone_has_no_place_for_new_ones(system):
    assert embeds_new(system)
    assert not embeds_new(replace(system, item_encoder=None))
    assert not embeds_new(replace(system, tower=None))
    over = system_over(replace(system, item_encoder=None), live_state())
    assert over.indexes == () and len(over.parts.generators) == len(system.scores)


def test_trained_videos_are_indexed_with_the_vectors_of_the_training(system):
    over = system_over(system, live_state(), scored_whole=10)
    over.catch_up()
    known, new = over.indexes
    assert (len(known.index), len(new.index)) == (len(feedback().items), len(NEW))
    place = feedback().items.index("i7")
    [hit] = known.index.search(system.tower.item_vectors()[place], 1)
    assert (hit.entry.item_id, hit.score) == ("i7", pytest.approx(1.0, abs=1e-2))
    over.close()
