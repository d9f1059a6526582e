"""A Faust worker as the tutorial has it: a Record, an agent, a Table with its changelog. The baseline to compare with.

It does less than the interactions agent: one count per item, no duplicates found, no windows, no users, no surfaces.
Run by infra/bench/interactions.py as a script of its own (`BOOTSTRAP=... TOPIC=... python plain_faust.py worker`).
"""

import os
import time
from pathlib import Path

import faust


class Data(faust.Record):
    user_id: str
    item_id: str | None = None
    surface: str = ""


class Interaction(faust.Record):
    id: str
    type: str
    time: str
    subject: str
    data: Data


app = faust.App(
    "plain-faust",
    broker=f"kafka://{os.environ['BOOTSTRAP']}",
    datadir=os.environ["FOLDER"],
    topic_partitions=4,
    topic_replication_factor=1,
)
topic = app.topic(os.environ["TOPIC"], value_type=Interaction)
counts = app.Table("counts", default=int)
first_seen = Path(os.environ["FIRST_SEEN"])


@app.agent(topic)
async def count(events: faust.StreamT[Interaction]) -> None:
    started = False
    async for event in events:
        if not started:
            started = True
            first_seen.write_text(str(time.time()))  # noqa: ASYNC240
        counts[f"{event.data.item_id} {event.type}"] += 1


if __name__ == "__main__":
    app.main()
