"""What people said of posts, as examples: reports teach, people's decisions ask.

Reports are *natural* labels: there are many, they say what somebody minded, and of harmless posts they say nothing.
Labels *by hand* come from reviews, appeals and samples: people looked, under the policy. Only the first are learned
from and only the second are measured by, so that a model is never asked about what it was told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES, AuthorFacts, HarmClass, Label, ReactionFacts
from core.ports import TextEncoder
from models.moderation.features import PostFeatures
from models.moderation.policy import PostReport
from models.moderation.policy.reports import ReportWeights
from models.moderation.policy.schema import Reports
from models.moderation.simulation import Assumptions
from models.moderation.told import told_features
from models.moderation.wording import ProfaneWords
from models.progress import Report
from models.text.normalise import normalise

Floats = NDArray[np.float32]
Cut = Callable[[str], Sequence[str]]
_CHUNK = 64


@dataclass(frozen=True)
class NaturalRule:
    """When reports teach that a post is harmful, and when their lack teaches that it is less so.

    `report_weight` is the weight of reports on one class from which they teach it; `impressions` how often a post has
    to be shown without any report to teach anything.
    """

    report_weight: float = 1.0
    impressions: int = 50


@dataclass(frozen=True)
class Known:
    """A post with what was known of it when it was first decided; None and NaN are unknown."""

    post_id: str
    text: str
    language: str = "und"
    links: int = 0
    media: int = 0
    nsfw: float = float("nan")
    hour: int | None = None
    device: str | None = None
    author: AuthorFacts | None = None
    reactions: ReactionFacts | None = None


@dataclass(frozen=True)
class Example:
    """A post with what people said of it. `targets` `(5,)` in [0, 1], NaN where nobody said anything.

    `unreported` is how many saw a post that nobody reported: how much that says, `less_likely` tells.
    """

    known: Known
    targets: Floats
    unreported: int | None = None

    @property
    def text(self) -> str:
        """What tells near-duplicates: the text, or the id of a post without one."""
        return self.known.text.strip() or self.known.post_id


def is_proven(report: PostReport, policy: Reports) -> bool:
    """Tell whether a report may teach: people agreed with its author before, or the account is known not to be new.

    Any number of accounts can be made. What they say brings a post before a person, but no model learns it.
    """
    days = report.account_age_days
    return report.upheld > 0 or (days is not None and days >= policy.new_account_days)


def reported(weights: ReportWeights, rule: NaturalRule) -> Floats | None:
    """Return what reports teach of a post: of each class that weighs enough, w / (w + 1); None where nothing does.

    One report of somebody with an ordinary record is even odds, and no number of reports is certainty. What is said of
    the other classes is nothing: who reports spam has not looked for violence.
    """
    targets = np.full(len(HARM_CLASSES), np.nan, np.float32)
    for place, harm in enumerate(HARM_CLASSES):
        weight = weights.by_harm.get(harm, 0.0)
        if weight >= rule.report_weight:
            targets[place] = weight / (weight + 1.0)
    return targets if np.isfinite(targets).any() else None


def less_likely(probabilities: Floats, impressions: NDArray[np.int64]) -> Floats:
    """Return probabilities of harm `(n, 5)` after so many impressions `(n,)` without a report, by Bayes' rule.

    Reports of harmful and of harmless posts are Poisson with the rates that the simulation assumes, so odds are
    multiplied with exp(-(harmful - harmless) x impressions / 1000). That nobody of fifty reported says little.
    """
    harmless, harmful = Assumptions().reports_per_thousand
    times = np.exp(-(harmful - harmless) * impressions[:, None] / 1000.0)
    found: Floats = (probabilities * times / (probabilities * times + 1.0 - probabilities)).astype(np.float32)
    return found


def by_hand(labels: Sequence[Label]) -> Floats | None:
    """Return what people said of a post: the newest label counts; None where there is none."""
    if not labels:
        return None
    newest = max(labels, key=lambda label: (label.labelled_at, label.source == "appeal", label.label_id))
    targets = np.full(len(HARM_CLASSES), np.nan, np.float32)
    for place, harm in enumerate(HARM_CLASSES):
        if harm in newest.harms:
            targets[place] = float(newest.harms[harm])
    return targets if np.isfinite(targets).any() else None


def features(
    posts: Sequence[Known],
    encoder: TextEncoder,
    words: ProfaneWords,
    *,
    cut: Cut,
    report: Report = lambda stage, done, total: None,
) -> list[list[PostFeatures]]:
    """Return the features of each post: one row a passage of its text, as it is scored when served.

    `cut` gives a text's passages. Vectors are not kept: these are people's posts, which they can have erased.
    """
    found: list[list[PostFeatures]] = []
    for start in range(0, len(posts), _CHUNK):
        report("embedding posts", start, len(posts))
        some = posts[start : start + _CHUNK]
        normal = [[one for passage in cut(post.text) if (one := normalise(passage)).text] for post in some]
        texts = list(dict.fromkeys(one.text for passages in normal for one in passages))
        vectors = dict(zip(texts, encoder.encode(texts), strict=True)) if texts else {}
        for post, passages in zip(some, normal, strict=True):
            clean = [one.text for one in passages]
            base = replace(
                _surroundings(post),
                profane_rate=words.count(" ".join(clean), post.language).profane_rate,
                obfuscated=max((one.changed for one in passages), default=0.0),
            )
            found.append([replace(base, text=text, text_vector=vectors[text]) for text in clean] or [base])
    report("embedding posts", len(posts), len(posts))
    return found


def _surroundings(post: Known) -> PostFeatures:
    told = told_features(
        post.author or AuthorFacts(),
        post.reactions or ReactionFacts(),
        hour=post.hour,
        device=post.device,
        language=post.language,
    )
    return replace(told, links=post.links, n_images=post.media, nsfw=post.nsfw)


def positives(examples: Sequence[Example]) -> dict[HarmClass, int]:
    """Return how many examples are harmful, by class."""
    stacked = np.array([example.targets for example in examples], np.float32).reshape(len(examples), len(HARM_CLASSES))
    counts = (np.nan_to_num(stacked) >= 0.5).sum(axis=0)
    return {harm: int(counts[place]) for place, harm in enumerate(HARM_CLASSES)}
