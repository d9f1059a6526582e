"""`riverlight moderation hashes`: what is listed is found, near pictures too, and everything is in the audit log."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from core.settings import load_settings
from infra.cli.main import app
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore

runner = CliRunner()
ONE, TWO = "f0e1d2c3b4a59687", "0f1e2d3c4b5a6978"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    return tmp_path


def run(*arguments: str, stdin: str | None = None):
    return runner.invoke(app, ["moderation", "hashes", *arguments, "-o", "json"], input=stdin)


def document(*arguments: str, stdin: str | None = None):
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def counts() -> dict[str, int]:
    return {row["list"]: row["hashes"] for row in document("list")}


def test_a_listed_hash_is_found_within_the_distance_of_its_list():
    assert document("add", "violent-extremism", ONE.upper()) == {
        "list": "violent-extremism",
        "added": 1,
        "hashes": [ONE],
    }
    assert document("add", "violent-extremism", ONE)["added"] == 0
    near = f"{int(ONE, 16) ^ 0b111111:016x}"
    far = f"{int(ONE, 16) ^ 0b1111111:016x}"
    assert document("lookup", near, far) == [{"hash": near, "list": "violent-extremism", "known": ONE, "distance": 6}]
    assert [row["distance"] for row in document("lookup", near, far, "--distance", "7")] == [6, 7]
    assert document("lookup", near, "--distance", "5") == []
    assert document("remove", "violent-extremism", ONE, TWO)["removed"] == 1
    assert document("lookup", near) == []


def test_lists_are_counted_and_shown_also_those_the_policy_has_not():
    document("add", "look-again", ONE, TWO)
    document("add", "mine", TWO, "--harm", "hate")
    rows = {row["list"]: row for row in document("list")}
    assert (rows["look-again"]["hashes"], rows["look-again"]["action"]) == (2, "review")
    assert (rows["mine"]["hashes"], rows["mine"]["action"]) == (1, "review (not in the policy)")
    assert rows["intimate-images"]["hashes"] == 0
    assert document("list", "look-again") == [ONE, TWO]
    assert document("list", "look-again", "--limit", "1") == [ONE]
    document("remove", "look-again", ONE)
    assert document("list", "look-again") == [TWO]


def test_a_list_that_nobody_knows_wants_its_class():
    result = run("add", "mine", ONE)
    assert result.exit_code == 2 and "the policy has no list 'mine'" in result.stderr and "--harm" in result.stderr
    result = run("add", "mine", ONE, "--harm", "rudeness")
    assert result.exit_code == 2 and "'rudeness' is no class" in result.stderr
    assert "mine" not in counts()


def test_who_did_it_is_in_the_audit_log():
    document("add", "look-again", ONE, "--by", "rosa")
    document("remove", "look-again", ONE, "--by", "ada")
    settings = load_settings()
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    entries = ModerationStore(catalogue.database).audit_entries("look-again")
    catalogue.close()
    assert [(entry.actor, entry.action) for entry in entries] == [
        ("admin:ada", "known-harm.removed"),
        ("admin:rosa", "known-harm.added"),
    ]


def test_files_of_hashes_are_imported(tmp_path: Path):
    file = tmp_path / "hashes.csv"
    file.write_text(f"# from a partner\nhash,source\n{ONE},x\n\n{TWO.upper()},y\n")
    assert document("import", "look-again", str(file)) == {"list": "look-again", "read": 2, "added": 2, "left_out": 0}
    assert document("import", "look-again", "-", stdin=f"{ONE}\n")["added"] == 0
    assert counts()["look-again"] == 2


def test_a_file_with_a_mistake_adds_nothing_unless_told_to(tmp_path: Path):
    file = tmp_path / "hashes.txt"
    file.write_text(f"{ONE}\nnonsense\n8000000000000000\n")
    result = run("import", "look-again", str(file))
    assert result.exit_code == 2
    assert (
        "2 lines cannot be used, nothing was added. line 2: 'nonsense'" in result.stderr and "line 3" in result.stderr
    )
    assert counts()["look-again"] == 0
    assert document("import", "look-again", str(file), "--skip-invalid")["left_out"] == 2
    assert counts()["look-again"] == 1


def test_a_picture_is_found_again_when_it_was_made_smaller_and_worse(tmp_path: Path):
    noise = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(tmp_path / "one.png")
    Image.fromarray(noise).resize((120, 120), Image.Resampling.BICUBIC).save(tmp_path / "two.jpg", quality=30)
    Image.fromarray(noise[::-1]).resize((256, 256), Image.Resampling.BICUBIC).save(tmp_path / "other.png")
    assert document("add", "look-again", str(tmp_path / "one.png"))["added"] == 1
    found = document("lookup", str(tmp_path / "two.jpg"), str(tmp_path / "other.png"))
    assert [row["list"] for row in found] == ["look-again"]


def test_a_blank_picture_is_refused(tmp_path: Path):
    Image.new("RGB", (64, 64), "white").save(tmp_path / "blank.png")
    result = run("add", "look-again", str(tmp_path / "blank.png"))
    assert result.exit_code == 2 and "every blank picture" in result.stderr
    found = document("add", "look-again", str(tmp_path / "blank.png"), ONE)
    assert found["hashes"] == [ONE]


@pytest.mark.parametrize("what", ["nonsense", "missing.png"])
def test_what_is_neither_hash_nor_file_is_refused(what: str):
    for command in ("add", "remove"):
        result = run(command, "look-again", what)
        assert result.exit_code == 2 and "neither a hash of 16 hex characters nor a file" in result.stderr
