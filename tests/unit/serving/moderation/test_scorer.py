"""Posts become scores: every part of a long text is read, what could not be looked at is said, nothing is made up."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from core.errors import Unavailable
from core.moderation import HARM_CLASSES, HarmClass, PostScores, PostToScore, ReactionFacts, ScoreFailure
from models.moderation.features import PostFeatures
from models.moderation.score import HarmScores
from models.moderation.wording import ProfaneWords
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from serving.moderation.media import MediaLooks
from serving.moderation.scorer import PostScorer
from serving.moderation.texts import TextVectors
from tests.fakes.embedding_service import FakeEmbeddingService
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.text_encoder import FakeTextEncoder

NOW = datetime(2026, 11, 1, 22, tzinfo=UTC)


class WordModel:
    """Finds violence where a text has the word `kill`, nudity where the NSFW signal says so; knows nothing of a post
    without text otherwise."""

    version, text_encoder, image_encoder = "moderation/words", "text/fake", "visual-search/fake"

    def __init__(self) -> None:
        self.seen: list[PostFeatures] = []

    def score(self, posts: Sequence[PostFeatures]) -> list[HarmScores]:
        self.seen += posts
        return [self._score(post) for post in posts]

    def _score(self, post: PostFeatures) -> HarmScores:
        if post.text_vector is None:
            known = {"nudity": post.nsfw} if post.nsfw == post.nsfw else {}
            return HarmScores({harm: known.get(harm) for harm in HARM_CLASSES}, post.present)
        scores = dict.fromkeys(HARM_CLASSES, 0.01) | {"violence": 0.9 if "kill" in post.text.lower() else 0.02}
        return HarmScores(scores, post.present)  # type: ignore[arg-type]

    def judge(self, posts: Sequence[PostFeatures]) -> list[tuple[HarmScores, dict[HarmClass, dict[str, float]]]]:
        shares = [{harm: dict.fromkeys(post.present, 1.0) for harm in HARM_CLASSES} for post in posts]
        return list(zip(self.score(posts), shares, strict=True))


class World:
    def __init__(self) -> None:
        self.model = WordModel()
        self.models = SimpleNamespace(champion=self.model, challenger=None, close=lambda: None)
        self.encoder = FakeTextEncoder()
        self.store = FakeObjectStore()
        self.embedding = FakeEmbeddingService(self.store)
        self.recorder = Recorder()
        self.texts = TextVectors(self.encoder, self.recorder)
        words = ProfaneWords({"en": frozenset({"darn"})})
        self.scorer = PostScorer(
            self.models,  # type: ignore[arg-type]  # what it uses of them
            self.texts,
            MediaLooks(self.embedding),
            words,
            self.recorder,
        )

    async def one(self, text: str = "", **more):  # type: ignore[no-untyped-def]
        options = {name: more.pop(name) for name in ("explain", "timeout_s") if name in more}
        [answer] = await self.scorer.score([PostToScore(post_id="p", text=text, posted_at=NOW, **more)], **options)
        return answer


@pytest.fixture
def world() -> World:
    return World()


async def test_a_text_is_scored_and_said_by_which_versions(world: World) -> None:
    answer = await world.one("I will kill you, darn")
    assert isinstance(answer, PostScores)
    assert answer.scores["violence"] == 0.9
    assert (answer.model_version, answer.text_version) == ("moderation/words", "text/fake")
    assert answer.signals["profane_words"] == 1
    assert answer.missing == []
    assert world.recorder.value(metrics.MODERATION_SCORED, outcome="ok") == 1


async def test_harm_at_the_end_of_a_long_text_is_found(world: World) -> None:
    answer = await world.one("All is well here. " * 200 + "And then I will kill you.")
    assert answer.scores["violence"] == 0.9
    assert len(world.model.seen) > 1


async def test_a_text_too_long_to_be_read_whole_says_so(world: World) -> None:
    answer = await world.one("Lorem ipsum dolor. " * 1_000)
    assert answer.missing == ["text: only parts of it were read"]


async def test_disguised_words_are_read_as_people_read_them(world: World) -> None:
    answer = await world.one("I will k1ll you")
    assert answer.scores["violence"] == 0.9
    assert answer.signals["obfuscation"] > 0


@pytest.mark.parametrize("text", ["", "   ", "\x00\x00", "\u200b\u200b"])
async def test_a_post_of_nothing_has_no_scores_rather_than_low_ones(world: World, text: str) -> None:
    answer = await world.one(text)
    assert isinstance(answer, PostScores)
    assert set(answer.scores.values()) == {None}


@pytest.mark.parametrize("text", ["x" * 20_000, "\ud800 lone", "\x07" * 500, "ا" * 5_000, "🔥" * 3_000])
async def test_odd_texts_are_scored_or_unknown_but_never_break(world: World, text: str) -> None:
    assert isinstance(await world.one(text), PostScores)


async def test_media_give_signals_and_hashes_and_their_vector_counts_only_for_the_model_it_was_made_for(
    world: World,
) -> None:
    media_id = await world.store.put(b"a picture")
    world.embedding.nsfw[media_id] = 0.97
    answer = await world.one(media_ids=[media_id])
    assert (answer.scores["nudity"], answer.scores["hate"]) == (0.97, None)
    assert answer.signals["nsfw"] == 0.97
    assert list(answer.phashes) == [media_id]
    assert world.model.seen[-1].image_vector is not None
    world.model.image_encoder = "visual-search/another"
    await world.one(media_ids=[media_id])
    assert world.model.seen[-1].image_vector is None


async def test_media_that_cannot_be_looked_at_are_named(world: World) -> None:
    broken, gone = await world.store.put(b"broken"), "0" * 64
    answer = await world.one("a cat", media_ids=[broken, gone])
    assert answer.missing == [f"media:{broken}: unsupported-media", f"media:{gone}: missing-media"]
    assert world.recorder.value(metrics.MODERATION_SCORED, outcome="partial") == 1


async def test_an_image_encoder_that_is_away_leaves_the_text_scored(world: World) -> None:
    world.embedding.unavailable = Unavailable("away")
    answer = await world.one("I will kill you", media_ids=["0" * 64])
    assert answer.scores["violence"] == 0.9
    assert answer.missing


async def test_the_same_medium_is_looked_at_once(world: World) -> None:
    media_id = await world.store.put(b"a picture")
    for _ in range(3):
        await world.one(media_ids=[media_id])
    assert len(world.embedding.calls) == 1


async def test_reactions_nobody_had_the_chance_of_are_unknown(world: World) -> None:
    await world.one("a cat")
    assert world.model.seen[-1].likes != world.model.seen[-1].likes
    await world.one("a cat", reactions=ReactionFacts(impressions=10, likes=2, reports=1.5))
    assert (world.model.seen[-1].likes, world.model.seen[-1].reports) == (2.0, 1.5)


async def test_evidence_is_the_words_without_which_there_is_no_harm(world: World) -> None:
    text = "This morning, before breakfast, I will kill you, says the letter, and more of that kind"
    answer = await world.one(text, explain=True)
    [evidence] = answer.evidence
    assert "kill" in evidence.quote
    assert text[evidence.start : evidence.end] == evidence.quote
    assert evidence.weight == pytest.approx(0.88)


async def test_a_second_look_for_evidence_is_counted_once(world: World) -> None:
    await world.one("I will kill you, says the letter")
    await world.one("I will kill you, says the letter", explain=True)
    assert world.recorder.value(metrics.MODERATION_SCORED, outcome="ok") == 1


async def test_a_harmless_post_needs_no_evidence(world: World) -> None:
    assert (await world.one("what a cat", explain=True)).evidence == []


async def test_an_encoder_that_fails_is_a_failure_of_each_post_that_needs_it(world: World) -> None:
    def broken(texts: Sequence[str]) -> None:
        raise RuntimeError("out of memory")

    world.encoder.encode = broken  # type: ignore[assignment]
    answer = await world.one("a cat")
    assert isinstance(answer, ScoreFailure)
    assert answer.transient


async def test_an_encoder_that_is_slow_is_not_waited_for(world: World) -> None:
    release = threading.Event()
    original = world.encoder.encode

    def slow(texts: Sequence[str]):  # type: ignore[no-untyped-def]
        release.wait(5)
        return original(texts)

    world.encoder.encode = slow  # type: ignore[assignment]
    answer = await world.one("a cat", timeout_s=0.05)
    release.set()
    assert isinstance(answer, ScoreFailure)


async def test_a_challenger_scores_the_same_posts_and_decides_nothing(world: World) -> None:
    challenger = WordModel()
    challenger.version = "moderation/next"
    world.models.challenger = challenger
    answer = await world.one("I will kill you")
    assert answer.model_version == "moderation/words"
    assert answer.challenger.model_version == "moderation/next"
    assert answer.challenger.scores["violence"] == 0.9


async def test_calls_at_the_same_time_share_the_encoder_and_texts_are_remembered(world: World) -> None:
    await asyncio.gather(*(world.one(f"text {number % 3}") for number in range(30)))
    assert sum(world.encoder.batches) == 3
    assert world.recorder.value(metrics.MODERATION_TEXTS, outcome="remembered") == 27
