"""Recommending videos: what people did, what of it means that a video was relevant, and models that rank by it."""
