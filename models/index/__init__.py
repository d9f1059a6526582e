"""The live vector index over `index.entries.v1`.

`live.LiveIndex` is the index; `snapshots` saves and loads it; `verify` compares two; `recall.RecallSampler` measures it
while it serves; `compare` measures every kind on given vectors.
"""
