"""Drift: whether what a model is given, and what it says, is still distributed as when it was trained.

`reference` is what was seen then, `window` what is seen now, `statistics` how far apart the two are, and `monitor` puts
them together. Nothing here knows a system: each says in a module of its own what of it is watched, e.g.
`models.moderation.drift`.
"""
