"""How far topics and consumer groups are, asked again and again.

A client for every question is the most expensive way to ask: it connects, learns who leads what, and leaves again. A
worker that looks at 18 agents every 5 s would open some 15 clients a second. Here two are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from core.errors import RiverlightError
from storage.log.asking import answers, described, open_admin
from storage.log.reader import EndReader

Place = tuple[str, int]  # topic, partition


@dataclass(frozen=True)
class Observation:
    """What was seen at one look.

    Attributes:
        ends: the offset after the last record, by place.
        lag: records that are not committed yet, by group and place. Where a group has committed nothing, all that
            are still there count.
        epochs: the incarnation of each topic (`storage.log.admin.topic_epoch`).
    """

    ends: dict[Place, int]
    lag: dict[str, dict[Place, int]]
    epochs: dict[str, str]


class LogObserver:
    """Looks at one broker over connections that it keeps. Not thread-safe: one owner looks."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._clients: tuple[AdminClient, EndReader] | None = None

    def look(self, groups: Mapping[str, Sequence[str]], topics: Sequence[str] = ()) -> Observation:
        """Look at groups and the topics each of them reads, and at further topics.

        Raises:
            Unavailable: the broker does not answer, or does not have a topic. The next look connects anew: clients
                that saw a broker go wait longer and longer before they try it again.
        """
        try:
            return self._look(*self._open(), groups, topics)
        except RiverlightError:
            self.close()
            raise

    def close(self) -> None:
        """Leave the broker; a look would connect anew."""
        if self._clients is not None:
            self._clients[1].close()
            self._clients = None

    def _open(self) -> tuple[AdminClient, EndReader]:
        if self._clients is None:
            self._clients = open_admin(self._bootstrap), EndReader(self._bootstrap)
        return self._clients

    def _look(
        self, admin: AdminClient, reader: EndReader, groups: Mapping[str, Sequence[str]], further: Sequence[str]
    ) -> Observation:
        asked = {topic for topics in groups.values() for topic in topics} | set(further)
        topics = described(admin, self._bootstrap, sorted(asked))
        ends = reader.ends({name: list(range(topic.partitions)) for name, topic in topics.items()})
        lag = {}
        for group, names in groups.items():
            lag[group] = self._lag(admin, group, {place: end for place, end in ends.items() if place[0] in names})
        return Observation(ends, lag, {name: topic.epoch for name, topic in topics.items()})

    def _lag(self, admin: AdminClient, group: str, ends: Mapping[Place, int]) -> dict[Place, int]:
        places = [TopicPartition(*place) for place in ends]
        request = [ConsumerGroupTopicPartitions(group, places)]
        what = f"the offsets of group {group}"
        asked = answers(lambda: admin.list_consumer_group_offsets(request), self._bootstrap, what)
        committed = {(place.topic, place.partition): place.offset for place in asked[group].topic_partitions or ()}
        new = [place for place in places if committed.get((place.topic, place.partition), -1) < 0]
        if new:
            wanted = {place: OffsetSpec.earliest() for place in new}
            first = answers(lambda: admin.list_offsets(wanted), self._bootstrap, "the first offsets")
            committed.update({(place.topic, place.partition): answer.offset for place, answer in first.items()})
        return {place: max(0, end - committed[place]) for place, end in ends.items()}
