import numpy as np
import pytest

from core.errors import InvalidInput
from models.metrics.offpolicy import doubly_robust, ips, reward_table, snips

CONTEXTS, ACTIONS = 4, 6


class Logged:
    """A log of a policy that prefers low actions, and a new policy that prefers high ones; the truth is known."""

    def __init__(self, rows: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.chance = np.sort(np.random.default_rng(1).uniform(0.05, 0.6, (CONTEXTS, ACTIONS)))  # of a click
        self.old = np.tile(np.linspace(6, 1, ACTIONS) / np.linspace(6, 1, ACTIONS).sum(), (CONTEXTS, 1))
        self.new = self.old[:, ::-1]
        self.context = rng.integers(0, CONTEXTS, rows)
        self.action = np.asarray([rng.choice(ACTIONS, p=self.old[context]) for context in self.context])
        self.reward = (rng.random(rows) < self.chance[self.context, self.action]).astype(float)
        self.logged = self.old[self.context, self.action]
        self.target = self.new[self.context, self.action]
        self.truth = float((self.new * self.chance).sum(axis=1).mean())

    def model(self):
        """A reward model learned from other rows."""
        other = Logged(3_000, 99)
        return reward_table(other.context, other.action, other.reward, (CONTEXTS, ACTIONS))

    def robust(self, model):
        everything = model(np.repeat(np.arange(CONTEXTS), ACTIONS), np.tile(np.arange(ACTIONS), CONTEXTS))
        wanted = (everything.reshape(CONTEXTS, ACTIONS) * self.new).sum(axis=1)[self.context]
        return doubly_robust(self.reward, self.logged, self.target, model(self.context, self.action), wanted)


def test_the_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = {"ips": 0, "snips": 0, "dr": 0}
    model = Logged(10, 0).model()
    for seed in range(100):
        log = Logged(800, seed)
        estimates = {
            "ips": ips(log.reward, log.logged, log.target),
            "snips": snips(log.reward, log.logged, log.target),
            "dr": log.robust(model),
        }
        for name, estimate in estimates.items():
            covered[name] += estimate.low <= log.truth <= estimate.high
    assert all(count >= 88 for count in covered.values()), covered


def test_the_mean_reward_of_the_log_is_not_the_answer():
    log = Logged(20_000, 3)
    assert abs(log.reward.mean() - log.truth) > 0.03
    assert abs(ips(log.reward, log.logged, log.target).value - log.truth) < 0.02


def test_a_reward_model_makes_the_interval_narrower():
    log = Logged(5_000, 4)
    plain, robust = ips(log.reward, log.logged, log.target), log.robust(log.model())
    assert robust.high - robust.low < plain.high - plain.low


def test_doubly_robust_holds_with_a_wrong_reward_model():
    log = Logged(20_000, 5)
    wrong = doubly_robust(log.reward, log.logged, log.target, np.full(20_000, 0.9), np.full(20_000, 0.9))
    assert wrong.low <= log.truth <= wrong.high


def test_the_same_policy_is_estimated_at_the_logs_mean():
    log = Logged(500, 6)
    same = snips(log.reward, log.logged, log.logged)
    assert same.value == pytest.approx(log.reward.mean())
    assert same.effective_samples == pytest.approx(500)


def test_by_hand():
    # weights 0.5/0.25 = 2 and 0.1/0.5 = 0.2; rewards 1 and 0
    assert ips([1, 0], [0.25, 0.5], [0.5, 0.1]).value == pytest.approx(1.0)
    assert snips([1, 0], [0.25, 0.5], [0.5, 0.1]).value == pytest.approx(2 / 2.2)
    assert ips([1, 0], [0.25, 0.5], [0.5, 0.1], clip=1.0).value == pytest.approx(0.5)
    robust = doubly_robust([1, 0], [0.25, 0.5], [0.5, 0.1], [0.5, 0.5], [0.4, 0.6])
    assert robust.value == pytest.approx(((0.4 + 2 * 0.5) + (0.6 + 0.2 * -0.5)) / 2)


@pytest.mark.parametrize(
    ("logged", "target", "message"),
    [([0.0, 0.5], [0.5, 0.5], "above 0"), ([0.5, 0.5], [1.5, 0.5], "between 0 and 1"), ([0.5], [0.5], "one length")],
)
def test_impossible_propensities_are_refused(logged, target, message):
    with pytest.raises(InvalidInput, match=message):
        ips([1.0, 0.0], logged, target)


def test_a_policy_that_shares_nothing_with_the_log_cannot_be_estimated():
    with pytest.raises(InvalidInput, match="nothing to estimate"):
        snips([1.0, 0.0], [0.5, 0.5], [0.0, 0.0])
