"""The policy in force while its file changes."""

import threading

import pytest

from core.errors import ConfigurationError
from models.moderation.policy import PolicyFile
from tests.unit.models.moderation.policy.cases import PLAIN


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(PLAIN)
    return path


def checked(file: PolicyFile) -> bool:
    """Look twice, as new content counts when two checks have seen it."""
    return any([file.check(), file.check()])


def test_without_a_path_the_packaged_policy_is_in_force():
    file = PolicyFile(None)
    assert (file.policy.name, file.state.source, file.check()) == ("default", "default", False)


def test_a_process_does_not_start_with_a_broken_policy(path):
    path.write_text("name: broken")
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:1: classes is missing"):
        PolicyFile(path)


def test_a_change_is_in_force_after_two_checks(path):
    told = []
    file = PolicyFile(path, on_change=told.append)
    before = file.policy.version
    assert not file.check()
    path.write_text(PLAIN.replace("review: 0.3", "review: 0.2"))
    assert not file.check() and file.policy.version == before
    assert file.check()
    assert file.policy.classes.self_harm.review == 0.2
    assert [state.policy.version for state in told] == [before, file.policy.version]
    assert file.state.changes == 1
    assert not checked(file)
    assert len(told) == 2


def test_content_that_still_changes_waits(path):
    file = PolicyFile(path)
    whole = PLAIN.replace("name: plain", "name: other") + "on_failure: demote\n"
    for end in (len(whole) - 20, len(whole) - 10):  # an editor that has not finished
        path.write_text(whole[:end])
        assert not file.check()
    path.write_text(whole)
    assert not file.check()
    assert file.check()
    assert file.policy.on_failure == "demote" and file.state.changes == 1


def test_an_invalid_change_keeps_what_was_in_force_and_is_reported_once(path):
    told = []
    file = PolicyFile(path, on_change=told.append)
    good = file.policy
    path.write_text(PLAIN.replace("review: 0.3", "review: 3"))
    assert not checked(file) and not checked(file)
    assert file.policy is good
    assert "policy.yaml:7: classes.self_harm.review" in file.state.error
    assert [bool(state.error) for state in told] == [False, True]
    path.write_text(PLAIN)  # mended: what is in force is what the file says
    assert not checked(file)
    assert file.state.error == "" and file.policy is good
    assert [bool(state.error) for state in told] == [False, True, False]


def test_a_removed_file_keeps_what_was_in_force_and_its_return_is_seen(path):
    file = PolicyFile(path)
    path.unlink()
    assert not checked(file)
    assert "cannot be read" in file.state.error and file.policy.name == "plain"
    path.write_text(PLAIN)
    assert not checked(file)
    assert file.state.error == ""
    path.unlink()
    file.check()
    path.write_text(PLAIN.replace("name: plain", "name: other"))
    assert checked(file)
    assert file.policy.name == "other"


def test_a_file_that_comes_back_broken_is_reported_as_such(path):
    file = PolicyFile(path)
    path.unlink()
    file.check()
    path.write_text("name: broken")
    assert not checked(file)
    assert "classes is missing" in file.state.error


def test_new_comments_change_nothing(path):
    told = []
    file = PolicyFile(path, on_change=told.append)
    path.write_text("# a remark\n" + PLAIN)
    assert not checked(file)
    assert len(told) == 1 and file.state.changes == 0


def test_a_replaced_file_of_the_same_size_and_time_is_noticed(path):
    import os

    file = PolicyFile(path)
    stat = path.stat()
    path.write_text(PLAIN.replace("review: 0.3", "review: 0.4"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checked(file)
    assert file.policy.classes.self_harm.review == 0.4


def test_threads_may_check_at_the_same_time(path):
    file = PolicyFile(path)
    path.write_text(PLAIN.replace("review: 0.3", "review: 0.2"))
    changed = []
    threads = [threading.Thread(target=lambda: changed.append(sum(file.check() for _ in range(50)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(changed) == 1 and file.state.changes == 1
