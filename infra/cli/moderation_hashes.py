"""`riverlight moderation hashes`: the lists of media that are known to be harmful."""

import asyncio
import getpass
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES, HarmClass
from core.settings import Settings, load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors

if TYPE_CHECKING:
    from models.moderation.policy import Policy
    from storage.moderation import ModerationStore

app = typer.Typer(
    no_args_is_help=True,
    help="Lists of perceptual hashes of media that are known to be harmful. A change counts within a second.",
)

ListArgument = Annotated[str, typer.Argument(metavar="LIST", help="A list of the policy's `known_harm`.")]
WhatArgument = Annotated[
    list[str], typer.Argument(metavar="HASH|FILE…", help="Hashes (16 hex characters), or images and videos to hash.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it, for the audit log. Left out: your login.")]
HarmOption = Annotated[
    str | None, typer.Option("--harm", help="The class of what is on the list. Left out: as the policy says.")
]


@app.command("add")
def add_command(
    list_name: ListArgument,
    what: WhatArgument,
    harm: HarmOption = None,
    by: ByOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Put hashes on a list: of a video, those of all frames that are looked at; blank pictures are left out.

    Examples:

    * `riverlight moderation hashes add look-again picture.jpg`

    * `riverlight moderation hashes add look-again f0e1d2c3b4a59687`
    """
    with errors(), _store() as (store, settings):
        hashes = _listable(_hashes(what, settings))
        added = store.add_known(list_name, hashes, _harm(list_name, harm, settings), by or getpass.getuser())
        found = {"list": list_name, "added": added, "hashes": hashes}
        emit(found, f"added {added}; {len(hashes) - added} were on it", output)


@app.command("remove")
def remove_command(
    list_name: ListArgument, what: WhatArgument, by: ByOption = None, output: OutputOption = OutputFormat.text
) -> None:
    """Take hashes off a list: just these, not those near to them. `lookup` tells which hash a picture matches.

    Example: `riverlight moderation hashes remove look-again f0e1d2c3b4a59687`
    """
    with errors(), _store() as (store, settings):
        hashes = _hashes(what, settings)
        removed = store.remove_known(list_name, hashes, by or getpass.getuser())
        emit({"list": list_name, "removed": removed}, f"removed {removed} of {len(hashes)}", output)


@app.command("list")
def list_command(
    list_name: Annotated[str | None, typer.Argument(metavar="LIST", help="Left out: all lists, with counts.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many hashes, oldest first.")] = 50,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show the lists and how much is on each, or the hashes of one.

    Example: `riverlight moderation hashes list`
    """
    with errors(), _store() as (store, settings):
        if list_name is None:
            rows = _overview(store.count_known(), _policy(settings))
            table = Table("list", "hashes", "action", "class", box=None, header_style="bold")
            for row in rows:
                table.add_row(Text(str(row["list"])), f"{row['hashes']:,}", str(row["action"]), str(row["harm"] or ""))
            emit(rows, table if rows else "no lists", output)
        else:
            hashes = list(_on_list(store, list_name, limit))
            emit(hashes, "\n".join(hashes) or f"nothing is on {list_name}", output)


@app.command("import")
def import_command(
    list_name: ListArgument,
    file: Annotated[
        Path, typer.Argument(help="One hash a line, or a CSV whose first column is the hash; `-` reads standard input.")
    ],
    harm: HarmOption = None,
    by: ByOption = None,
    skip: Annotated[bool, typer.Option("--skip-invalid", help="Leave out lines that are no usable hash.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Put many hashes on a list. Nothing is added when a line is wrong, unless such lines are to be left out.

    Example: `riverlight moderation hashes import violent-extremism hashes.txt`
    """
    with errors(), _store() as (store, settings):
        of = _harm(list_name, harm, settings)
        hashes, wrong = _read_lines(file)
        if wrong and not skip:
            raise InvalidInput(f"{file}: {len(wrong)} lines cannot be used, nothing was added. {' | '.join(wrong[:5])}")
        added = store.import_known(list_name, hashes, of, by or getpass.getuser())
        found = {"list": list_name, "read": len(hashes), "added": added, "left_out": len(wrong)}
        emit(found, f"added {added:,} of {len(hashes):,}; {len(wrong):,} lines left out", output)


@app.command("lookup")
def lookup_command(
    what: WhatArgument,
    distance: Annotated[
        int | None,
        typer.Option("--distance", min=0, max=12, help="Bits that may differ. Left out: what each list allows."),
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Find what is on a list and near to pictures, videos or hashes.

    Example: `riverlight moderation hashes lookup picture.jpg`
    """
    from models.moderation.known_harm import HashChange, KnownHarm
    from models.moderation.policy.schema import MAX_DISTANCE

    with errors(), _store() as (store, settings):
        known, index = _policy(settings).known_harm, KnownHarm()
        seq = 0
        while changes := store.known_since(seq):
            seq = changes[-1].seq
            index.apply([HashChange(list_name=c.list_name, phash=c.hash) for c in changes if not c.removed])
        asked = _hashes(what, settings)
        rows = [
            {"hash": phash, "list": hit.list_name, "known": hit.known, "distance": hit.distance}
            for phash, hits in zip(asked, index.lookup(asked, distance=MAX_DISTANCE), strict=True)
            for hit in hits
            if hit.distance <= (distance if distance is not None else _allowed(known, hit.list_name))
        ]
        table = Table("hash", "list", "known", "distance", box=None, header_style="bold")
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row.values()))
        emit(rows, table if rows else "nothing near is on a list", output)


@contextmanager
def _store() -> "Iterator[tuple[ModerationStore, Settings]]":
    from storage.catalogue import Catalogue
    from storage.moderation import ModerationStore

    settings = load_settings()
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        yield ModerationStore(catalogue.database), settings
    finally:
        catalogue.close()


def _policy(settings: Settings) -> "Policy":
    from models.moderation.policy import load_policy

    return load_policy(settings.moderation.policy)


def _allowed(known: dict, list_name: str) -> int:
    from models.moderation.policy.schema import MAX_DISTANCE

    return known[list_name].distance if list_name in known else MAX_DISTANCE


def _harm(list_name: str, harm: str | None, settings: Settings) -> HarmClass:
    known = _policy(settings).known_harm
    wanted = harm if harm is not None else known[list_name].harm if list_name in known else None
    for one in HARM_CLASSES:
        if one == wanted:
            return one
    if wanted is None:
        raise InvalidInput(
            f"the policy has no list {list_name!r} (there are: {', '.join(known) or 'none'}); add it to known_harm, or "
            "say --harm: until the policy knows the list, people look at what matches"
        )
    raise InvalidInput(f"--harm {wanted!r} is no class; there are {', '.join(HARM_CLASSES)}")


def _overview(counts: dict[str, int], policy: "Policy") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in sorted({*counts, *policy.known_harm}):
        known = policy.known_harm.get(name)
        rows.append(
            {
                "list": name,
                "hashes": counts.get(name, 0),
                "action": known.action if known is not None else "review (not in the policy)",
                "harm": known.harm if known is not None else None,
            }
        )
    return rows


def _on_list(store: "ModerationStore", list_name: str, limit: int) -> Iterator[str]:
    seq, told = 0, 0
    while changes := store.known_since(seq):
        seq = changes[-1].seq
        for change in changes:
            if change.list_name == list_name and not change.removed:
                yield change.hash
                told += 1
                if told == limit:
                    return


def _read_lines(file: Path) -> tuple[list[str], list[str]]:
    """Return the hashes of a file, and what is wrong with the lines that have none."""
    from models.moderation.known_harm import check_listable

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text") from error
    hashes: list[str] = []
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        first = line.split(",", 1)[0].strip().strip('"')
        if not first or first.startswith("#"):
            continue
        try:
            hashes.append(check_listable(first))
        except InvalidInput as error:
            if hashes or wrong or first.lower() not in ("hash", "phash"):  # a CSV's heading is no mistake
                wrong.append(f"line {number}: {error}")
    return hashes, wrong


def _listable(hashes: Sequence[str]) -> list[str]:
    """Leave out the hashes of pictures without content, such as the black frame a film begins with.

    Raises InvalidInput when there are no others.
    """
    from models.moderation.known_harm import check_listable

    kept, refused = [], None
    for phash in hashes:
        try:
            kept.append(check_listable(phash))
        except InvalidInput as error:
            refused = error
    if refused is not None and not kept:
        raise refused
    return kept


def _hashes(what: Sequence[str], settings: Settings) -> list[str]:
    """Return the hashes that were written, and those of files, in order."""
    from models.moderation.known_harm import format_hash, parse_hash

    files = [one for one in what if Path(one).is_file()]
    of_files = dict(zip(files, asyncio.run(_hash_files(files, settings)), strict=True)) if files else {}
    hashes: list[str] = []
    for one in what:
        if one in of_files:
            hashes += of_files[one]
            continue
        try:
            hashes.append(format_hash(parse_hash(one)))
        except InvalidInput as error:
            raise InvalidInput(f"{one!r} is neither a hash of 16 hex characters nor a file") from error
    return list(dict.fromkeys(hashes))


async def _hash_files(files: Sequence[str], settings: Settings) -> list[tuple[str, ...]]:
    from models.media.decoder import MediaDecoder

    decoder = MediaDecoder(settings.media)
    decoder.start()
    try:
        found = []
        for file in files:
            try:
                content = await asyncio.to_thread(Path(file).read_bytes)
            except OSError as error:
                raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
            found.append((await decoder.decode(content)).phashes)
        return found
    finally:
        decoder.close()
