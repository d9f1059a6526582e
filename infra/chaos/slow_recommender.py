"""A recommender whose generators and ranker can be made to hang or to fail. The rest of the service is the real one.

`python -m infra.chaos.slow_recommender` serves as `python -m infra.entry.serve` does, with this recommender. Where no
trained model is served, a ranker of a few lines stands for it, so that there is one to be without.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from core.errors import Unavailable
from core.settings import Settings, load_settings
from serving.gateway.replica import Gateway
from serving.recommendation.generators import all_generators
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Candidates, Generator, Proposal, Ranker, Scores, Viewer

HANGS, RAISES = "hangs", "raises"
GENERATORS, RANKER = "generators", "ranker"
_HANG_S = 3.0


class Trouble:
    """What generators and ranker have: a file, so that those who make trouble and those who have it meet."""

    def __init__(self, home: Path) -> None:
        self._file = home.resolve() / "run" / "slow-recommender.json"

    def set(self, **troubles: str) -> None:
        """Say what each part does, `hangs` or `raises`; those that are not named work."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        written = self._file.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(troubles))
        written.replace(self._file)

    def meet(self, part: str) -> None:
        """Have the trouble that a part has now. Raises Unavailable where it raises."""
        try:
            trouble = msgspec.json.decode(self._file.read_bytes(), type=dict[str, str]).get(part, "")
        except FileNotFoundError:
            return
        if trouble == HANGS:
            time.sleep(_HANG_S)
        elif trouble == RAISES:
            raise Unavailable(f"the {part} are broken on purpose")


class TroubledGenerator(Generator):
    """A generator that hangs or fails when it is told to."""

    def __init__(self, generator: Generator, trouble: Trouble) -> None:
        self.name = generator.name
        self._generator = generator
        self._trouble = trouble

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        """See the port."""
        self._trouble.meet(GENERATORS)
        return self._generator.propose(viewer, limit)


class TroubledRanker(Ranker):
    """A ranker that picks newer videos rather, and hangs or fails when it is told to."""

    version = "stand-in/1"

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def predict(self, viewer: Viewer, candidates: Candidates) -> Mapping[str, Scores]:
        """See the port."""
        self._trouble.meet(RANKER)
        return {"pick": candidates.rows.astype(np.float32)}


def plant(home: Path) -> None:
    """Have the gateway that is opened in this process from now on use a recommender that can be in trouble."""
    from serving.gateway import dependencies
    from serving.recommendation.opening import open_recommender

    trouble = Trouble(home)

    def generators(state: LiveState) -> list[Generator]:
        return [TroubledGenerator(one, trouble) for one in all_generators(state)]

    def ranker(state: LiveState) -> Ranker:
        return TroubledRanker(trouble)

    dependencies.open_recommender = partial(  # type: ignore[attr-defined]
        open_recommender, make_generators=generators, make_ranker=ranker
    )


class SlowGateway(Gateway):
    """The gateway that is deployed in place of the real one."""

    async def __init__(self, settings: Settings, encoder_app: str, moderator_app: str) -> None:  # type: ignore[misc]
        plant(settings.home)
        await super().__init__(settings, encoder_app, moderator_app)  # type: ignore[misc]


def main() -> None:
    """Serve until a signal, with the troubled recommender in the gateway."""
    import serving.gateway.replica
    from infra.chaos import slow_recommender  # by its name: Ray would send the classes of `__main__` by value
    from infra.entry.serve import run_serve

    serving.gateway.replica.Gateway = slow_recommender.SlowGateway  # type: ignore[misc]
    run_serve(load_settings())


if __name__ == "__main__":
    main()
