"""The posts of the demo: sentences that no model was trained on, and real texts from installed data sets."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import RiverlightError
from core.moderation import HARM_CLASSES, HarmClass
from models.datasets.catalogue import install, installed_folder, is_installed
from models.datasets.texts import LabelledText, read_texts
from models.moderation.sentences import edgy_posts, own_posts
from models.moderation.wording import WORD_LISTS

REVIEWS, TOXIC = "reviews", "toxic-texts"  # plain and harmful texts as people wrote them
_SURE = 0.8
_AUTHORS = 24


@dataclass(frozen=True)
class DemoPost:
    """A post to be. `harm` is what it is, None for harmless; `unseen`: no model was trained on its text."""

    post_id: str
    author_id: str
    text: str
    language: str
    harm: HarmClass | None
    unseen: bool
    media_ids: tuple[str, ...] = ()


def author(run: str, number: int) -> str:
    """The id of an author of one run."""
    return f"demo-{run}-author-{number % _AUTHORS}"


def install_texts(home: Path, say: Callable[[str], None]) -> None:
    """Install the texts of the demo, and the word lists that the moderator reads when it starts, where they are not.

    A machine that cannot have them (no network, no npm) is told so; the demo goes on without.
    """
    for name in (REVIEWS, TOXIC, WORD_LISTS):
        try:
            install(name, home, say)
        except RiverlightError as error:
            say(f"{name} cannot be installed: {error}")


def demo_posts(home: Path, run: str, media: list[str], count: int, *, seed: int = 7) -> list[DemoPost]:
    """Return up to `count` posts in random order; every eighth harmless one shows a picture of the demo."""
    draw = random.Random(seed)
    unseen = [*own_posts("test"), *edgy_posts()]
    draw.shuffle(unseen)
    chosen = [(text, True) for text in unseen[: count * 3 // 4]]
    real = [*_installed(home, REVIEWS), *_installed(home, TOXIC)]
    draw.shuffle(real)
    chosen += [(text, False) for text in real[: count - len(chosen)]]
    draw.shuffle(chosen)
    posts = []
    for number, (text, is_unseen) in enumerate(chosen):
        harm = harm_of(text)
        picture = (media[number % len(media)],) if media and harm is None and number % 8 == 0 else ()
        posts.append(
            DemoPost(
                f"demo-{run}-post-{number}", author(run, number), text.text, text.language, harm, is_unseen, picture
            )
        )
    return posts


def harm_of(text: LabelledText) -> HarmClass | None:
    """Return the class that a text is surely of, None where it is harmless."""
    value, harm = max((text.harm.get(harm, 0.0), harm) for harm in HARM_CLASSES)
    return harm if value >= _SURE else None


def _installed(home: Path, name: str) -> list[LabelledText]:
    texts = read_texts(installed_folder(name, home)) if is_installed(name, home) else []
    return [text for text in texts if harm_of(text) is not None or max(text.harm.values(), default=0.0) < 0.2]
