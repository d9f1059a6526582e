import numpy as np

from serving.recommendation.words import CONTENT_DIM, content_vector, weighted_words


def vector(title: str = "", tags: tuple[str, ...] = (), category: str = "") -> np.ndarray:
    return content_vector(weighted_words(title, tags, category))


def test_the_same_words_make_the_same_vector_of_length_one():
    one, other = vector("Zebra at noon", ("zebra",), "animals"), vector("zebra AT Noon!", ("Zebra",), "animals")
    assert one.shape == (CONTENT_DIM,)
    assert np.linalg.norm(one) == np.float32(1) or abs(np.linalg.norm(one) - 1) < 1e-6
    np.testing.assert_array_equal(one, other)


def test_no_words_make_the_zero_vector():
    assert not vector("", (), "").any()
    assert not vector("!?").any()


def test_videos_that_share_words_are_nearer_than_ones_that_do_not():
    first = vector("Baking sourdough bread", ("bread", "baking"), "food")
    near = vector("Sourdough for beginners", ("bread",), "food")
    far = vector("Fixing a bicycle chain", ("bicycle",), "sport")
    assert first @ near > 0.5 > abs(float(first @ far))


def test_cosines_of_unrelated_videos_scatter_as_much_as_64_signs_let_expect():
    vectors = np.stack([vector(f"alpha{n} beta{n} gamma{n}", (f"delta{n}",)) for n in range(300)])
    cosines = (vectors @ vectors.T)[np.triu_indices(300, 1)]
    assert abs(cosines.mean()) < 0.01
    assert 0.10 < cosines.std() < 0.15  # 1/8


def test_a_short_word_counts_less_than_a_long_one():
    words = weighted_words("the elephant", (), "")
    assert words["the"] < words["elephant"]


def test_a_very_long_title_costs_no_more_than_its_beginning():
    assert len(weighted_words(" ".join(f"word{n}" for n in range(10_000)), (), "")) <= 64
