"""A place in the log: how far each topic was read, and which incarnation of it that was."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.ports import StoredRecord


class StartAgain(Exception):
    """What was applied so far may not be in the log, or is to be read again: begin from the log's beginning.

    `trust_snapshots` is False where what they hold may be just as wrong.
    """

    def __init__(self, reason: str, *, trust_snapshots: bool = False) -> None:
        super().__init__(reason)
        self.trust_snapshots = trust_snapshots


@dataclass
class Place:
    """Topics are named as the follower's logs are. A topic that is missing was not read yet."""

    epochs: dict[str, str] = field(default_factory=dict)
    positions: dict[str, dict[int, int]] = field(default_factory=dict)  # topic -> partition -> next offset to read

    @classmethod
    def beginning(cls, epochs: Mapping[str, str]) -> "Place":
        """Return the beginning of the topics of these incarnations."""
        return cls(dict(epochs), {topic: {} for topic in epochs})

    def copy(self) -> "Place":
        """Return the place as it is now; this one moves on."""
        return Place(dict(self.epochs), {topic: dict(offsets) for topic, offsets in self.positions.items()})

    def of(self, topic: str) -> dict[int, int]:
        """Return the next offset to read, by partition."""
        return dict(self.positions.get(topic, {}))

    def has_read(self, topic: str, record: StoredRecord) -> bool:
        """Tell whether a record is before this place."""
        return record.offset < self.positions.get(topic, {}).get(record.partition, 0)

    def advance(self, topic: str, record: StoredRecord) -> None:
        """Move on to the record after this one."""
        self.positions.setdefault(topic, {})[record.partition] = record.offset + 1

    def behind(self, topic: str, ends: Mapping[int, int]) -> int:
        """Return how many records there are between this place and the end of a topic."""
        read = self.of(topic)
        return sum(max(0, end - read.get(partition, 0)) for partition, end in ends.items())

    def check_ends(self, topic: str, ends: Mapping[int, int]) -> None:
        """Raise StartAgain when a partition ends before this place: it is another log under the same name."""
        for partition, position in self.of(topic).items():
            if position > ends.get(partition, 0):
                raise StartAgain(
                    f"partition {partition} of {topic} ends at {ends.get(partition, 0)}, before {position}, "
                    "which was read already"
                )
