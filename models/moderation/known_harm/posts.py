"""A post's media against the lists."""

from collections.abc import Mapping, Sequence

from models.moderation.known_harm.index import KnownHarm
from models.moderation.policy.case import KnownHit


def known_hits(
    index: KnownHarm, posts: Sequence[Mapping[str, Sequence[str]]], *, distance: int
) -> list[list[KnownHit]]:
    """Return what of each post is on a list: the nearest hash of each list for each picture or frame that is near.

    A post is its media ids with the hashes of the image or of the frames, as `PostScores.phashes` has them. All posts
    are looked up together: one batch costs little more than one hash. Raises InvalidInput for text that is no hash.
    """
    asked = [
        (number, media_id, phash)
        for number, media in enumerate(posts)
        for media_id, phashes in media.items()
        for phash in phashes
    ]
    found: list[list[KnownHit]] = [[] for _ in posts]
    for (number, media_id, phash), hits in zip(
        asked, index.lookup([phash for _, _, phash in asked], distance=distance), strict=True
    ):
        found[number] += [
            KnownHit(list_name=hit.list_name, distance=hit.distance, media_id=media_id, phash=phash, known=hit.known)
            for hit in hits
        ]
    return found
