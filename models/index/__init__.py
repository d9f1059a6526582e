"""The live vector index over `index.entries.v1`.

`LiveIndex` is the index, `load_snapshot` opens a saved one, `RecallSampler` measures it while it serves, and
`models.index.compare` measures every kind on given vectors.
"""

from models.index.live import IndexStats, LiveIndex
from models.index.recall import RecallSampler
from models.index.snapshots import Snapshot, load_snapshot
from models.index.verify import IndexDifference

__all__ = ["IndexDifference", "IndexStats", "LiveIndex", "RecallSampler", "Snapshot", "load_snapshot"]
