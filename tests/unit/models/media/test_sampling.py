import itertools

import pytest

from models.media.sampling import PIXELS_PER_BYTE, Packet, Run, beginning, plan

PLENTY = 10**12


def packets(count, gop=10, size=0, step=1):
    return [Packet(index * step, index % gop == 0, size) for index in range(count)]


def frames_of(runs):
    return [run.first + wanted for run in runs for wanted in run.wanted]


def cost(runs, frame_pixels, size=0):
    return sum((run.wanted[-1] + 1) * (frame_pixels + PIXELS_PER_BYTE * size) for run in runs)


def test_frames_come_from_the_middles_of_equal_parts():
    assert frames_of(plan(packets(80), 8, 100, PLENTY)) == [5, 15, 25, 35, 45, 55, 65, 75]
    assert frames_of(plan(packets(3), 1, 100, PLENTY)) == [1]


def test_a_run_starts_at_the_keyframe_before_its_frames():
    assert plan(packets(40, gop=10), 8, 100, PLENTY) == [Run(first, (2, 7)) for first in (0, 10, 20, 30)]
    assert plan(packets(40, gop=100), 2, 100, PLENTY) == [Run(0, (10, 30))]


def test_time_counts_and_not_the_number_of_frames():
    slow = [Packet(index, index % 5 == 0, 0) for index in range(50)]
    slow += [Packet(50 + 50 * index, True, 0) for index in range(19)]  # most of the time, in few frames
    chosen = frames_of(plan(slow, 8, 100, PLENTY))
    assert sum(index >= 50 for index in chosen) == 8


def test_packets_in_the_order_of_decoding_are_chosen_by_when_they_are_shown():
    order = [0, 4, 2, 1, 3, 8, 6, 5, 7]
    chosen = plan([Packet(time, time == 0, 0) for time in order], 3, 100, PLENTY)
    assert [order[index] for index in frames_of(chosen)] == sorted((1, 4, 7), key=order.index)


def test_fewer_frames_than_wanted_come_once_each():
    assert frames_of(plan(packets(3), 8, 100, PLENTY)) == [0, 1, 2]
    assert frames_of(plan([Packet(0, True, 5)], 8, 100, PLENTY)) == [0]
    assert frames_of(plan([Packet(7, True, 5)] * 4, 8, 100, PLENTY)) != []  # all at one time


@pytest.mark.parametrize(("count", "gop"), [(1000, 250), (1000, 1000), (1000, 1), (5000, 600), (40_000, 300)])
@pytest.mark.parametrize("size", [0, 1000])
def test_the_budget_is_kept_and_all_frames_are_different(count, gop, size):
    budget = 200 * (100 + PIXELS_PER_BYTE * size)
    runs = plan(packets(count, gop, size), 8, 100, budget)
    assert cost(runs, 100, size) <= budget
    chosen = frames_of(runs)
    assert len(set(chosen)) == 8
    assert chosen == sorted(chosen)
    assert all(first.first + first.wanted[-1] < second.first for first, second in itertools.pairwise(runs))


def test_within_the_budget_frames_of_one_keyframe_are_spread_over_what_can_be_reached():
    [run] = plan(packets(1000, gop=1000), 8, 100, 100 * 161)
    assert run.first == 0
    assert run.wanted[-1] == 160
    steps = [after - before for before, after in itertools.pairwise(run.wanted)]
    assert max(steps) - min(steps) <= 1


def test_a_budget_for_nothing_still_gives_a_frame_of_each_keyframe():
    assert plan(packets(80, gop=10), 8, 100, 1) == [Run(first, (0,)) for first in range(0, 80, 10)]
    assert plan(packets(80, gop=80), 8, 100, 1) == [Run(0, tuple(range(8)))]


def test_what_is_cut_off_by_an_edit_is_decoded_where_needed_and_never_chosen():
    cut = [Packet(index, index % 10 == 0, 0, is_shown=index >= 6) for index in range(30)]
    assert min(frames_of(plan(cut, 8, 100, PLENTY))) >= 6
    assert beginning(cut) == Run(0, (6,))
    assert beginning(packets(5)) == Run(0, (0,))


def test_a_video_without_a_keyframe_is_begun_at_its_beginning():
    assert plan([Packet(index, False, 0) for index in range(10)], 2, 100, PLENTY) == [Run(0, (2, 7))]
