"""How torch's processes find each other on Ray: as Ray does it, and on one machine without a socket for strangers."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend


@dataclass
class MeetInAFile(TorchConfig):
    """For workers on one machine, in a folder of theirs: torch's own meeting place listens on every interface."""

    folder: str = ""

    @property
    def backend_cls(self) -> type:
        return _FileBackend


class _FileBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        meeting = Path(backend_config.folder) / f"meeting-{uuid.uuid4().hex}"
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _setup_torch_process_group,
                    backend=backend_config.backend,
                    world_rank=rank,
                    world_size=len(worker_group),
                    init_method=meeting.as_uri(),
                    timeout_s=backend_config.timeout_s,
                )
                for rank in range(len(worker_group))
            ]
        )
