"""Moderation on the stream side: what agents about posts, reactions and people share."""
