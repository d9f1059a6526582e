"""Processes: up, restarting, out of processor, files or memory."""

from tests.unit.monitoring.alerts.case import Case

_GATEWAY = '{job="gateway",instance="h:1"}'


CASES: list[Case] = [
    Case(
        "ProcessDown",
        "it does not answer for three minutes",
        {f"up{_GATEWAY}": "1 0 0 0 0"},
        "4m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case("ProcessDown", "it missed one scrape", {f"up{_GATEWAY}": "1 1 0 1 1"}, "4m"),
    Case(
        "KeepsRestarting",
        "started anew every five minutes",
        {f"process_start_time_seconds{_GATEWAY}": "0x5 300x5 600x5 900x5 1200x5"},
        "28m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case("KeepsRestarting", "one restart", {f"process_start_time_seconds{_GATEWAY}": "0x10 600x20"}, "28m"),
    Case(
        "ProcessorFull",
        "a core and nothing left",
        {f"process_cpu_seconds_total{_GATEWAY}": "0+60x40"},
        "35m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case("ProcessorFull", "half a core", {f"process_cpu_seconds_total{_GATEWAY}": "0+30x40"}, "35m"),
    Case(
        "FilesRunOut",
        "nine tenths are open",
        {f"process_open_fds{_GATEWAY}": "900x20", f"process_max_fds{_GATEWAY}": "1000x20"},
        "10m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case(
        "FilesRunOut",
        "a tenth is",
        {f"process_open_fds{_GATEWAY}": "100x20", f"process_max_fds{_GATEWAY}": "1000x20"},
        "10m",
    ),
    Case(
        "MemoryGrows",
        "half a gigabyte and 5 MB more every minute",
        {f"process_resident_memory_bytes{_GATEWAY}": "500000000+5000000x140"},
        "100m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case(
        "MemoryGrows",
        "it grew while it started, and is flat since",
        {f"process_resident_memory_bytes{_GATEWAY}": "100000000+200000000x5 1100000000x140"},
        "100m",
    ),
]
