"""Nothing seen, hidden, deleted or blocked is in an answer that starts after the event was applied.

A writer applies events without pause while several threads ask. Before each question a reader notes what had been
applied by then; whatever that rules out must not be in the answer.
"""

import asyncio
import random
import threading
import time

from tests.unit.serving.recommendation import live_events as ev

USERS = [f"u{number}" for number in range(4)]
VIDEOS = 400
SECONDS = 6.0


class Applied:
    """What was applied so far, noted only once `apply` has returned. Sets only grow; videos never come back."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.blocked: set[str] = set()
        self.seen: dict[str, set[str]] = {user: set() for user in USERS}

    def forbidden(self, user: str) -> set[str]:
        while True:
            try:
                return self.gone | self.blocked | self.seen[user]
            except RuntimeError:  # one was added meanwhile
                continue


def test_no_answer_shows_what_was_ruled_out_before_it_began(make_answering):
    answering = make_answering(exploration_share=0.2, small_creator_share=0.2, temperature=0.05, at_once=8)
    answering.stock(VIDEOS)
    applied, stop, wrong, answers = Applied(), threading.Event(), [], [0] * len(USERS)
    writes = [0]

    def write() -> None:
        chance = random.Random(1)
        uploaded = VIDEOS
        second = 10_000.0
        while not stop.is_set():
            second += 1
            writes[0] += 1
            kind = chance.random()
            item = f"v{chance.randrange(uploaded)}"
            if kind < 0.15:
                uploaded += 1
                answering.apply(
                    ev.created(f"v{uploaded - 1}", second, title=f"about {uploaded}", owner_id=f"c{uploaded}")
                )
            elif kind < 0.25:
                event = ev.deleted(item, second) if chance.random() < 0.5 else ev.hidden(item, second)
                answering.apply(event)
                applied.gone.add(item)
            elif kind < 0.35:
                answering.apply(ev.changed(item, second, blocked_regions=["DE"]))
                applied.blocked.add(item)
            else:
                user = chance.choice(USERS)
                did = chance.choice(["Impression", "Click", "Like", "Hide"])
                answering.apply(ev.did(did, user, item, second))
                applied.seen[user].add(item)
            if writes[0] % 20 == 0:
                time.sleep(0.001)  # readers, too, have to run

    def read(number: int) -> None:
        user = USERS[number]
        with asyncio.Runner() as here:
            while not stop.is_set():
                forbidden = applied.forbidden(user)
                shown = here.run(answering.ids(user, k=30, country="DE"))
                answers[number] += 1
                wrong.extend((user, item) for item in shown if item in forbidden)

    readers = [threading.Thread(target=read, args=(one,)) for one in range(len(USERS))]
    threads = [threading.Thread(target=write), *readers]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join(30)
    print(f"{sum(answers)} answers during {writes[0]} writes: {len(wrong)} with something in them that was ruled out")
    assert wrong == []
    assert min(answers) > 10 and writes[0] > 1_000
    assert applied.gone and applied.blocked
