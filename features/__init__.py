"""Features on Feast: what is known about items and users, online and as of any moment in the past.

The path of one interaction: `engine` counts it (`state`, exactly once), `online` pushes the touched rows to the Feast
online store, `reader` serves them. `archive` keeps the events as Parquet; `offline` turns them into the same features
as of any time, and `rebuild` makes the online side anew. All of them compute features with `transforms.windows`.

Feast is imported only by `repo` and `online` (it takes seconds), and those only when a store is opened.
"""
