"""The topics that the recommender follows."""

from core.topics import BY_STREAM
from serving.following.topic_log import KafkaLogs, TopicLog

STREAMS = ("uploads", "users", "interactions")  # that the recommender follows, in the order they are caught up with


def followed(logs: KafkaLogs) -> dict[str, TopicLog]:
    """Return the logs that the recommender follows, by stream."""
    return {stream: logs.topic(BY_STREAM[stream].name) for stream in STREAMS}
