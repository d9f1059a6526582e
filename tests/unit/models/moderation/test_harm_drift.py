"""What of a post is watched for drift: the same columns when a model is trained and when it scores."""

import numpy as np

from core.moderation import HARM_CLASSES
from models.drift.reference import Reference
from models.moderation.drift import WatchedPost, rows_of, training_reference, write_reference
from models.moderation.features import PostFeatures
from models.moderation.wording import ProfaneWords
from models.registry.manifest import read_manifest
from models.registry.packaged import PACKAGED
from tests.unit.models.moderation.harm_networks import IMAGE_DIM, TEXT_DIM, posts

WORDS = ProfaneWords({"en": frozenset({"damn"})})
SENTENCES = ("The weather is fine today and we walk by the river", "Das Wetter ist heute schön, wir gehen spazieren")


def test_every_column_has_a_row_a_post_and_what_is_missing_is_unknown():
    watched = [WatchedPost(post, dict.fromkeys(HARM_CLASSES, 0.25), 30) for post in posts(30)]
    watched.append(WatchedPost(PostFeatures(), dict.fromkeys(HARM_CLASSES), 0))
    rows = rows_of(watched, text_dim=TEXT_DIM, image_dim=IMAGE_DIM)
    assert len(rows) == 31
    assert {len(column) for part in (rows.numbers, rows.categories, rows.scores) for column in part.values()} == {31}
    assert rows.vectors["text"].shape == (31, TEXT_DIM) and rows.vectors["image"].shape == (31, IMAGE_DIM)
    assert np.isnan(rows.numbers["text_length"][-1]) and np.isnan(rows.scores["spam"][-1])
    assert np.isnan(rows.vectors["text"][-1]).all()
    with_text = [post.text_vector is not None for post in posts(30)]
    assert np.isfinite(rows.vectors["text"][:30, 0]).tolist() == with_text


def test_a_vector_of_another_encoder_is_missing():
    post = PostFeatures(text="x", text_vector=np.ones(3, np.float32))
    rows = rows_of([WatchedPost(post, {}, 1)], text_dim=TEXT_DIM, image_dim=IMAGE_DIM)
    assert np.isnan(rows.vectors["text"]).all()


def test_the_reference_of_training_texts_lies_beside_the_weights_and_knows_what_live_posts_have(tmp_path):
    generator = np.random.default_rng(0)
    texts = [SENTENCES[place % 4 == 0] + " damn" * (place % 3 == 0) for place in range(200)]
    vectors = generator.normal(size=(200, TEXT_DIM)).astype(np.float32)
    probabilities = generator.random((200, len(HARM_CLASSES)))
    write_reference(tmp_path, texts, vectors, WORDS, probabilities, sha256="f00d")
    read = Reference.load(tmp_path, made_for="f00d")
    assert read is not None
    names = [(one.kind, one.name) for one in read.features]
    assert names == [
        ("input", "text_length"),
        ("input", "profane_rate"),
        ("input", "language"),
        ("embedding", "text"),
        *(("score", harm) for harm in HARM_CLASSES),
    ]
    language = next(one for one in read.features if one.name == "language")
    assert language.tally.tolist() == [150.0, 50.0, 0.0, 0.0] and language.source == "200 training texts"
    rows = rows_of(
        [WatchedPost(post, dict.fromkeys(HARM_CLASSES, 0.5), 30) for post in posts(40)],
        text_dim=TEXT_DIM,
        image_dim=IMAGE_DIM,
    )
    assert all(feature.of(rows) is not None for feature in read.features)


def test_the_reference_is_the_same_whatever_the_source_is_called():
    vectors = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    probabilities = np.full((120, len(HARM_CLASSES)), 0.1)
    found = training_reference([SENTENCES[0]] * 120, vectors, WORDS, probabilities, source="of its own")
    assert {one.source for one in found.features} == {"of its own"}


def test_the_packaged_weights_come_with_what_they_learned_from():
    folder = PACKAGED["moderation"]
    manifest = read_manifest(folder)
    reference = Reference.load(folder, made_for=manifest.sha256)
    assert reference is not None
    scores = [one for one in reference.features if one.kind == "score"]
    assert [one.name for one in scores] == list(HARM_CLASSES)
    assert {one.tally.sum() for one in scores} == {manifest.data["texts"]}
