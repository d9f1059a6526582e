"""Uploads as posts: what of one is judged, and what a post that shows it has taken over."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from core.entries import IndexEntry, Version
from core.ids import derived_id, upload_post_id
from core.moderation import Decision
from storage.moderation import StoredPost

_TEXT = 20_000  # characters, as of a post


def as_post(entry: IndexEntry, at: datetime) -> StoredPost:
    """Return an upload as the post that it is judged as. `at` is when it became what it is."""
    text = "\n".join(part for part in (entry.title, entry.description, " ".join(entry.tags)) if part)
    return StoredPost(
        post_id=upload_post_id(entry.item_id),
        author_id=entry.owner_id,
        posted_at=at,
        version=entry.version,
        event_id=derived_id(entry.event_id, "moderation.upload"),
        text=text[:_TEXT],
        media_ids=(entry.media_id,) if entry.media_id else (),
        item_ids=(entry.item_id,),
        language=entry.language,
    )


def apart_from(upload: StoredPost, written: Sequence[StoredPost]) -> StoredPost | None:
    """Return what of an upload its owner's posts do not show, so that nothing is judged twice; None: they show it all.

    A post shows an upload when it names it and holds its media; the words of the upload are looked at on their own,
    unless the post says them, too.
    """
    shown_by = [post for post in written if _shows(post, upload)]
    if not shown_by:
        return upload
    if any(upload.text in post.text for post in shown_by):  # also where there are none
        return None
    return replace(upload, media_ids=())


def taken_over(post: StoredPost, upload: StoredPost, in_force: Decision | None) -> StoredPost | None:
    """Return the end of an upload that was judged by itself and is now shown by a post, which decides its fate.

    None where the post does not show it. What restricts the upload stays, and stays open to appeal: posting something
    that was taken down does not bring it back.
    """
    restricted = in_force is not None and in_force.action in ("demote", "enforce")
    if restricted or upload.state != "active" or not _shows(post, upload):
        return None
    return replace(
        upload,
        state="deleted",
        version=Version(upload.version.time_us, upload.version.seq + 1),
        event_id=derived_id(post.event_id, f"moderation.takes-over:{upload.post_id}"),
    )


def _shows(post: StoredPost, upload: StoredPost) -> bool:
    return (
        post.state == "active"
        and post.post_id != upload.post_id
        and post.author_id == upload.author_id
        and set(upload.item_ids) <= set(post.item_ids)
        and set(upload.media_ids) <= set(post.media_ids)
    )
