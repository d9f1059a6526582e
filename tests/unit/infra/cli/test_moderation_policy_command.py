"""`riverlight moderation policy`: checked, shown and explained."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from infra.cli.main import app
from models.registry.manifest import read_manifest
from models.registry.packaged import open_registry
from tests.unit.models.moderation.policy.cases import KNOWN, PLAIN, case, failure, post, rules

runner = CliRunner()
RULE = rules("{name: links, when: post.links > 1 and author.followers < 9, action: demote, harm: spam, reason: Many.}")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    path = tmp_path / "policy.yaml"
    path.write_text(PLAIN + KNOWN + RULE)
    return str(path)


def invoke(*arguments: str) -> str:
    result = runner.invoke(app, ["moderation", "policy", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def document(*arguments: str) -> dict:
    return json.loads(invoke(*arguments, "-o", "json"))


def test_a_valid_policy_is_told_with_its_version(file: str) -> None:
    found = document("check", file)
    assert (found["name"], found["rules"], found["lists"]) == ("plain", 1, ["nudes", "terror"])
    assert f"plain is valid; version {found['version']}, 1 rules" in invoke("check", file)


def test_every_mistake_is_told_and_the_exit_code_is_2(file: str) -> None:
    Path(file).write_text(PLAIN.replace("review: 0.3", "review: 3") + "color: red\n")
    result = runner.invoke(app, ["moderation", "policy", "check", file])
    assert result.exit_code == 2
    assert "policy.yaml:7: classes.self_harm.review" in result.stderr and ":9: color is unknown" in result.stderr


def test_without_a_file_it_is_the_policy_in_the_settings(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert document("check")["name"] == "default"
    monkeypatch.setenv("RIVERLIGHT_MODERATION__POLICY", file)
    assert document("check")["name"] == "plain"


def test_what_a_policy_says_is_shown(file: str) -> None:
    shown = invoke("show", file)
    for word in ("violence", "never", "post.links > 1", "terror", "on failure: review", "at most 1"):
        assert word in shown
    assert document("show", file)["classes"]["spam"]["enforce"] == 0.95


def test_what_it_does_with_a_post_is_explained(file: str) -> None:
    arguments = ("explain", file, "--scores", "hate=0.75", "--link", "a", "--link", "b", "--author", "followers=3")
    found = document(*arguments)
    assert (found["outcome"]["action"], found["outcome"]["harm"]) == ("demote", "hate")
    assert [reason["rule"] for reason in found["outcome"]["reasons"]] == ["hate.demote", "rule.links"]
    assert found["rules"] == [
        {
            "rule": "links",
            "kind": "raise",
            "result": "holds",
            "unknown": "",
            "when": "post.links > 1 and author.followers < 9",
        }
    ]
    assert found["priority"] > 0
    text = " ".join(invoke(*arguments).split())
    assert "demote for hate (scores × 0.2, real-time, priority" in text and "holds" in text


def test_a_rule_that_cannot_be_asked_is_told(file: str) -> None:
    found = document("explain", file, "--link", "a", "--link", "b")
    assert found["outcome"]["action"] == "allow"
    assert (found["rules"][0]["result"], found["rules"][0]["unknown"]) == ("unknown", "author.followers")
    assert document("explain", file)["rules"][0]["result"] == "does not hold"


def test_lists_reports_and_strikes_count(file: str) -> None:
    assert document("explain", file, "--known", "terror=6")["outcome"]["action"] == "enforce"
    assert document("explain", file, "--known", "terror=7")["outcome"]["action"] == "allow"
    assert document("explain", file, "--reports", "2")["outcome"]["action"] == "review"
    Path(file).write_text(PLAIN + "strikes: [{count: 2, days: 9, at_least: demote}]\n")
    assert document("explain", file, "--strikes", "2")["outcome"]["action"] == "demote"


def test_a_whole_case_is_read_from_a_file(file: str, tmp_path: Path) -> None:
    written = tmp_path / "case.json"
    for asked, action in ((case(failure()), "review"), (case({"hate": 0.95}, post=post(links=["a"])), "enforce")):
        written.write_bytes(msgspec.json.encode(asked))
        assert document("explain", file, "--case", str(written))["outcome"]["action"] == action


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scores", "hat=0.5"], "hat is no class; there are violence"),
        (["--scores", "hate"], "'hate' is not NAME=NUMBER"),
        (["--author", "size=3"], "there is no size; there are violations"),
        (["--author", "country=3"], "country"),
        (["--case", "nowhere.json"], "cannot be read"),
    ],
)
def test_wrong_options_say_what_is_possible(file: str, arguments: list[str], said: str) -> None:
    result = runner.invoke(app, ["moderation", "policy", "explain", file, *arguments])
    assert result.exit_code == 2 and said in result.stderr


def test_a_file_that_is_no_case_says_what_one_is(file: str, tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text('{"post": 3}')
    result = runner.invoke(app, ["moderation", "policy", "explain", file, "--case", str(tmp_path / "case.json")])
    assert result.exit_code == 2 and "is no case" in result.stderr and "docs/how-to/policy.md" in result.stderr


def test_what_thresholds_would_do_is_told_by_class_and_prevalence(file: str) -> None:
    as_measured, rare = document("expect"), document("expect", "--prevalence", "0.01")
    assert [(row["harm"], row["action"]) for row in rare["thresholds"]][:3] == [
        ("violence", "review"),
        ("violence", "demote"),
        ("violence", "enforce"),
    ]
    assert rare["thresholds"][0]["right"] < as_measured["thresholds"][0]["right"]
    assert rare["model"].startswith("moderation/") and rare["prevalence"] == 0.01
    shown = invoke("expect", file, "--prevalence", "0.01")
    assert "plain, version" in shown and "self_harm" in shown and "false alarms" in shown


def test_a_model_that_was_not_measured_at_thresholds_says_what_does(file: str, tmp_path: Path) -> None:
    version = open_registry(tmp_path).resolve("moderation@champion")
    manifest = read_manifest(version.folder)
    del manifest.metrics["thresholds"]
    manifest.write(version.folder)
    result = runner.invoke(app, ["moderation", "policy", "expect", file])
    assert result.exit_code == 2
    assert "evaluate moderation --labels" in result.stderr
