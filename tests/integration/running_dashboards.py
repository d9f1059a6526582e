"""Which panels of a running system are empty? `python -m tests.integration.running_dashboards http://127.0.0.1:9090`.

Asks a Prometheus every query of every dashboard and recorded series. Empty is not wrong by itself: no dead letters, no
line. Empty panels of a busy system whose metric should be there are what to look for.
"""

import sys

from monitoring import rules
from monitoring.dashboards import DASHBOARDS
from tests.integration.prometheus import LivePrometheus


def main(url: str) -> None:
    prometheus = LivePrometheus(url)
    asked = {f"recorded: {one.name}": one.name for one in rules.RECORDINGS}
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                for number, (query, _) in enumerate(panel.queries):
                    asked[f"{dashboard.uid}: {panel.title} [{number}]"] = query
    empty = {name: query for name, query in asked.items() if not prometheus.query(query)}
    for name, query in empty.items():
        print(f"{name}\n    {query}")
    print(f"{len(asked) - len(empty)} of {len(asked)} queries find data")
    prometheus.close()


if __name__ == "__main__":
    main(sys.argv[1])
