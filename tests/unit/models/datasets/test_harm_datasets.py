"""Rewriting packages' texts into one form, from small stand-ins of the packages' files."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from core.errors import IntegrityError
from models.datasets.harm_answers import convert as convert_answers
from models.datasets.spam_texts import convert_mail, convert_sms, mail_text
from models.datasets.texts import LabelledText, read_texts, write_texts
from models.datasets.toxic_texts import convert as convert_toxic
from models.datasets.word_lists import convert as convert_words
from models.datasets.word_lists import read_words

SCORES = ("threat", "sexually_explicit", "identity_attack")


def tarball(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def test_texts_come_back_as_they_were_written(tmp_path: Path):
    texts = [LabelledText("a\nb", "x", {"hate": 0.5}, "de", "g"), LabelledText("日本", "y")]
    write_texts(texts, tmp_path)
    assert read_texts(tmp_path) == texts


@pytest.mark.parametrize("line", ["{", '{"text": "a"}', "[]", '{"text": "a", "source": "b", "extra": 1}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str):
    write_texts([LabelledText("a", "x")], tmp_path)
    with (tmp_path / "texts.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(IntegrityError, match="line 2"):
        read_texts(tmp_path)


def test_toxic_texts_keep_three_scores_and_plain_ones_are_harmless(tmp_path: Path):
    def lines(name: str, rows: list[dict]) -> None:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    lines("Toxicity/test.jsonl", [{"text": "bad", **dict.fromkeys(SCORES, 0.7)}])
    for file, column in (
        ("XSum/test.jsonl", "document"),
        ("MedQA/test.jsonl", "question"),
        ("SIQA/test.jsonl", "passage"),
        ("Translation/test.jsonl", "sourceString"),
        ("BBQ/test.jsonl", "passage"),
    ):
        lines(file, [{column: f"{file} " * 100}, {column: f"{file} " * 100}, {column: "  "}])
    convert_toxic(tmp_path / "data", tmp_path)
    toxic, *plain = read_texts(tmp_path)
    assert toxic.harm == {"violence": 0.7, "nudity": 0.7, "hate": 0.7}  # of self-harm and spam it says nothing
    assert [text.source for text in plain] == ["news", "medicine", "everyday", "sentences", "identities"]
    assert all(set(text.harm.values()) == {0.0} and len(text.text) <= 600 for text in plain)


def test_answers_have_the_mean_of_peoples_scores_and_their_question_as_group(tmp_path: Path):
    names = ("violence", "violence_multi_score", "sexual", "hate_speech", "hate_speech_multi_score", "self_harm")
    for name in names:
        table = "# about the file,,\nobjective,assistant_response,human_score_1,human_score_2\n"
        table += 'How? ,"No,\nnever",0.25,0.75\nhow?,Yes,1,\nWhat,,1,1\n'
        (tmp_path / f"{name}.csv").write_text(table, encoding="utf-8")
    convert_answers(tmp_path, tmp_path)
    first, second, *rest = read_texts(tmp_path)
    assert (first.text, first.harm) == ("No,\nnever", {"violence": 0.5})
    assert second.harm == {"violence": 1.0} and first.group == second.group
    assert len(rest) == 2 * (len(names) - 1)
    assert {harm for text in rest for harm in text.harm} == {"violence", "nudity", "hate", "self_harm"}


def test_a_table_that_changed_is_refused(tmp_path: Path):
    (tmp_path / "violence.csv").write_text("something,else\n1,2\n", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"violence\.csv"):
        convert_answers(tmp_path, tmp_path)


def test_messages_are_unescaped_and_told_apart(tmp_path: Path):
    source = tmp_path / "spam.csv"
    source.write_text("ham\tI &lt;3 you\nspam\tWIN now\nspam\tWIN now\nbroken line\n", encoding="utf-8")
    convert_sms(source, tmp_path)
    ham, spam = read_texts(tmp_path)
    assert (ham.text, ham.harm["spam"], spam.harm["spam"]) == ("I <3 you", 0.0, 1.0)


def test_a_file_without_messages_is_refused(tmp_path: Path):
    (tmp_path / "spam.csv").write_text("nothing here", encoding="utf-8")
    with pytest.raises(IntegrityError):
        convert_sms(tmp_path / "spam.csv", tmp_path)


def test_a_mail_is_its_subject_and_the_readable_part_of_its_body():
    html = "<html><style>p {}</style><body>Buy <b>now</b> &amp; save<script>x()</script></body></html>"
    raw = f"Subject: Re: [list] Deal\nContent-Type: text/html; charset=nonsense\n\n{html}"
    assert mail_text(raw) == "Deal. Buy now & save"
    assert mail_text("") == ""
    assert len(mail_text("Subject: x\n\n" + "word " * 5_000)) <= 1_000


def test_mails_are_read_from_the_tarball(tmp_path: Path):
    def mail(text: str) -> str:
        return json.dumps({"text": f"Subject: {text}\n\nbody of {text}"})

    files = {"data/spam-1/1.json": mail("win"), "data/easy-ham-2/2.json": mail("hello"), "package.json": "{}"}
    convert_mail(tarball(tmp_path / "a.tgz", files), tmp_path)
    assert {(text.source, text.harm["spam"]) for text in read_texts(tmp_path)} == {
        ("mail-spam", 1.0),
        ("mail-easy-ham", 0.0),
    }


def test_word_lists_are_read_by_language(tmp_path: Path):
    files = {"en.json": '["Darn", "heck", ""]', "de.json": '["mist"]', "package.json": "{}", "x.json": '{"a": 1}'}
    convert_words(tarball(tmp_path / "a.tgz", files), tmp_path)
    assert read_words(tmp_path) == {"en": frozenset({"darn", "heck"}), "de": frozenset({"mist"})}
    with pytest.raises(IntegrityError):
        convert_words(tarball(tmp_path / "b.tgz", {"package.json": "{}"}), tmp_path)
