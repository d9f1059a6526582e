"""Posts become arrays in one way; what is missing is masked, not guessed."""

from dataclasses import replace

import numpy as np
import pytest
from harm_networks import IMAGE_DIM, NOTHING, TEXT_DIM, posts, scaling_of

from models.moderation.features import IMAGE, MODALITIES, FeatureScaling, PostFeatures
from models.moderation.surface import SURFACE, surface_of


@pytest.fixture
def scaling() -> FeatureScaling:
    return scaling_of(posts(200))


def test_a_post_of_which_nothing_is_known_is_all_zeros_and_has_no_modality(scaling: FeatureScaling):
    batch = scaling.encode([NOTHING])
    assert NOTHING.present == ()
    assert not batch.present.any()
    assert all(not values.any() for values in batch.dense.values())


def test_zero_is_known_and_unknown_is_not_zero(scaling: FeatureScaling):
    batch = scaling.encode([replace(NOTHING, likes=0.0), NOTHING])
    reactions = batch.dense["reactions"]
    width = reactions.shape[1] // 2
    assert reactions[0, width + 1] == 1.0 and reactions[0, 1] != 0.0
    assert not reactions[1].any()


def test_counts_are_standardised_on_a_logarithmic_scale():
    many = [replace(NOTHING, likes=float(likes)) for likes in (0, 10, 100, 1_000)]
    scaled = FeatureScaling.fit(many, text_dim=TEXT_DIM, image_dim=IMAGE_DIM).encode(many).dense["reactions"][:, 1]
    assert scaled.mean() == pytest.approx(0.0, abs=1e-5)
    assert scaled.std() == pytest.approx(1.0, abs=1e-4)
    assert np.all(np.diff(scaled) > 0)


def test_a_count_far_out_of_what_was_trained_on_is_bounded(scaling: FeatureScaling):
    batch = scaling.encode([replace(NOTHING, likes=1e18, impressions=1e18)])
    assert np.abs(batch.dense["reactions"]).max() <= 6.0


def test_a_city_is_the_same_row_however_it_is_written_and_an_unknown_one_is_row_zero(scaling: FeatureScaling):
    known = [replace(NOTHING, author_city=name) for name in ("Oslo", " oslo ")]
    places = scaling.encode([*known, NOTHING]).places
    assert places[0, 0] == places[1, 0] > 0
    assert (places[2] == 0).all()


@pytest.mark.parametrize(
    ("hour", "bucket"), [(0, 0), (4, 0), (5, 1), (10, 1), (11, 2), (13, 2), (14, 3), (17, 3), (18, 4), (21, 4), (22, 0)]
)
def test_hours_fall_into_five_buckets(scaling: FeatureScaling, hour: int, bucket: int):
    context = scaling.encode([replace(NOTHING, hour=hour)]).dense["context"][0]
    assert context.argmax() == bucket and context.sum() == 1.0


def test_without_hides_a_modality_and_nothing_else(scaling: FeatureScaling):
    batch = scaling.encode(posts())
    hidden = batch.without("author")
    column = MODALITIES.index("author")
    assert not hidden.dense["author"].any() and not hidden.places.any() and not hidden.present[:, column].any()
    assert np.array_equal(hidden.dense["text"], batch.dense["text"])
    assert batch.present[:, column].any()  # the original is as it was


def test_language_is_no_input(scaling: FeatureScaling):
    post = posts(1, seed=3)[0]
    left, right = scaling.encode([replace(post, language="en")]), scaling.encode([replace(post, language="ar")])
    assert all(np.array_equal(left.dense[name], right.dense[name]) for name in MODALITIES)


def test_an_nsfw_score_says_that_it_is_known(scaling: FeatureScaling):
    rows = scaling.encode([replace(NOTHING, nsfw=0.5), replace(NOTHING, nsfw=0.99)]).dense["image"][:, IMAGE_DIM:]
    known, score = IMAGE.index("nsfw_known"), IMAGE.index("nsfw")
    assert rows[:, known].tolist() == [1.0, 1.0]
    assert rows[0, score] == pytest.approx(0.0, abs=1e-6) and rows[1, score] > 1.0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("WIN NOW", "upper"),
        ("call 0800 123 456 7", "contacts"),
        ("visit http://example.com and www.example.org", "links"),
        ("only $5 or 10 euros", "money"),
        ("soooooo good", "repeated"),
        ("hey!!!", "exclamation"),
    ],
)
def test_the_surface_of_a_text_shows(text: str, name: str):
    values = dict(zip(SURFACE, surface_of(text), strict=True))
    plain = dict(zip(SURFACE, surface_of("we met at the lake"), strict=True))
    assert values[name] > plain[name]


@pytest.mark.parametrize("text", ["", " ", "\x00\ud800", "a" * 1_000_000, "!" * 100_000, "1 " * 50_000, "((((" * 9_999])
def test_the_surface_of_any_text_is_bounded_and_quick(text: str):
    values = surface_of(text, links=10**9, profane_rate=1.0, obfuscated=1.0)
    assert all(0.0 <= value <= 1.1 for value in values)


def test_a_vector_of_another_encoder_is_refused(scaling: FeatureScaling):
    with pytest.raises(ValueError):
        scaling.encode([PostFeatures(text="x", text_vector=np.zeros(7, np.float32))])
