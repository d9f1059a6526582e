"""Simulated behaviour around real texts: no public data has posts together with authors, reactions and comments.

The rates below are assumptions, not measurements. They say that harmful posts are reported more, that their authors
have a record more often, that spam comes from young accounts, and that comments react to what a post says; demographics
and context have no relation to harm at all. A model must therefore not lean on any of it for a text that it can judge:
training drops these modalities often (`fit.py`), and the ablation in the card shows what remains of their pull.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES, HarmClass
from models.moderation.features import AGE_BANDS, DEVICES, GENDERS, PostFeatures

_CITIES = (("Lisbon", "PT"), ("Kyiv", "UA"), ("Nairobi", "KE"), ("Lima", "PE"), ("Hanoi", "VN"), ("Oslo", "NO"))


@dataclass(frozen=True)
class Assumptions:
    """The rates of the simulation. Pairs are of a harmless and a harmful post."""

    reports_per_thousand: tuple[float, float] = (0.2, 3.0)
    likes_per_thousand: tuple[float, float] = (40.0, 25.0)
    shares_per_thousand: tuple[float, float] = (6.0, 8.0)
    comments_per_thousand: tuple[float, float] = (8.0, 12.0)
    violations: tuple[float, float] = (0.05, 0.3)  # mean of past violations
    author_reports: tuple[float, float] = (0.4, 1.5)
    author_profane_rate: tuple[float, float] = (0.01, 0.03)
    telling_comments: tuple[float, float] = (0.04, 0.35)  # chance that a comment reacts to a harm
    spam_account_days: float = 20.0  # median age of a spammer's account; others' is 600
    nsfw: tuple[float, float] = (-3.5, 2.0)  # mean logit of the NSFW score beside a harmless and a nudity text
    with_image: float = 0.4


def simulate(
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    comments: Mapping[str, NDArray[np.float32]],
    images: NDArray[np.float32],
    seed: int,
    assumptions: Assumptions | None = None,
) -> list[PostFeatures]:
    """Return a post for each text, with simulated surroundings.

    Args:
        vectors: `(n, D)` of the texts.
        targets: `(n, 5)`; what nobody judged (NaN) counts as harmless here.
        comments: vectors of comments by what they react to: each class of harm, and `neutral`.
        images: `(m, I)` vectors of harmless images; they are drawn without regard to the labels.
    """
    rates = assumptions or Assumptions()
    generator = np.random.default_rng(seed)
    judged = np.nan_to_num(targets, nan=0.0)
    posts = []
    for text, vector, harm in zip(texts, vectors, judged, strict=True):
        post = PostFeatures(text=text, text_vector=vector)
        harmful = float(generator.random() < harm.max())
        worst: HarmClass = HARM_CLASSES[int(harm.argmax())]
        post = _reactions(post, harmful, rates, generator)
        post = _author(post, harmful, worst, rates, generator)
        post = _discussion(post, harmful, worst, comments, rates, generator)
        post = _image(post, float(harm[HARM_CLASSES.index("nudity")]), images, rates, generator)
        posts.append(replace(post, hour=int(generator.integers(24)), device=str(generator.choice(DEVICES))))
    return posts


def _between(pair: tuple[float, float], harmful: float) -> float:
    return pair[0] + harmful * (pair[1] - pair[0])


def _reactions(post: PostFeatures, harmful: float, rates: Assumptions, generator: np.random.Generator) -> PostFeatures:
    seen = float(np.floor(generator.lognormal(4.5, 1.8)))

    def count(pair: tuple[float, float]) -> float:
        mean = seen / 1000.0 * _between(pair, harmful) * generator.gamma(1.0)
        return float(generator.poisson(mean))

    return replace(
        post,
        impressions=seen,
        likes=count(rates.likes_per_thousand),
        shares=count(rates.shares_per_thousand),
        comments=count(rates.comments_per_thousand),
        reports=count(rates.reports_per_thousand),
    )


def _author(
    post: PostFeatures, harmful: float, worst: HarmClass, rates: Assumptions, generator: np.random.Generator
) -> PostFeatures:
    median = rates.spam_account_days if harmful and worst == "spam" else 600.0
    city, country = _CITIES[int(generator.integers(len(_CITIES)))]
    unknown = generator.random(4) < 0.3
    return replace(
        post,
        author_violations=float(generator.poisson(_between(rates.violations, harmful) * generator.gamma(1.0))),
        author_reports=float(generator.poisson(_between(rates.author_reports, harmful) * generator.gamma(1.0))),
        author_profane_rate=min(1.0, float(generator.exponential(_between(rates.author_profane_rate, harmful)))),
        author_posts=float(np.floor(generator.lognormal(3.5, 1.5))),
        author_followers=float(np.floor(generator.lognormal(4.0, 1.8))),
        author_account_age_days=float(median * generator.lognormal(0.0, 1.0)),
        author_age_band=None if unknown[0] else str(generator.choice(AGE_BANDS)),
        author_gender=None if unknown[1] else str(generator.choice(GENDERS)),
        author_city=None if unknown[2] else city,
        author_country=None if unknown[3] else country,
    )


def _discussion(
    post: PostFeatures,
    harmful: float,
    worst: HarmClass,
    pools: Mapping[str, NDArray[np.float32]],
    rates: Assumptions,
    generator: np.random.Generator,
) -> PostFeatures:
    """Average the vectors of up to six comments; some react to a harm, now and then to one that is not there."""
    count = int(min(post.comments, 6.0))
    if count == 0:
        return post
    reacted: HarmClass = worst if harmful else HARM_CLASSES[int(generator.integers(len(HARM_CLASSES)))]
    chosen = []
    for _ in range(count):
        telling = generator.random() < _between(rates.telling_comments, harmful)
        pool = pools[reacted if telling else "neutral"]
        chosen.append(pool[int(generator.integers(len(pool)))])
    return replace(post, comments_vector=np.mean(chosen, axis=0, dtype=np.float32))


def _image(
    post: PostFeatures,
    nudity: float,
    images: NDArray[np.float32],
    rates: Assumptions,
    generator: np.random.Generator,
) -> PostFeatures:
    if not len(images) or generator.random() > rates.with_image:
        return post
    shown = float(generator.random() < nudity)
    logit = generator.normal(_between(rates.nsfw, shown), 1.3)
    count = 1 + int(generator.poisson(0.5))
    picked = images[generator.integers(len(images), size=count)]
    nsfw = math.nan if generator.random() < 0.1 else 1.0 / (1.0 + math.exp(-logit))
    return replace(post, image_vector=picked.mean(axis=0, dtype=np.float32), n_images=count, nsfw=nsfw)
