"""The vector index and visual search over it."""

from typing import Literal

from pydantic import Field

from core.settings.section import Section


class IndexSettings(Section):
    """The live vector index."""

    kind: Literal["flat", "tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw"] = Field(
        "ivf_sq8", description="Index structure; docs/how-to/choose-an-index.md says which for what."
    )
    hnsw_m: int = Field(32, ge=4, le=128, description="HNSW: links per node. Higher: better recall, more memory.")
    hnsw_ef_construction: int = Field(120, ge=8, description="HNSW: breadth while building.")
    hnsw_ef_search: int = Field(128, ge=8, description="HNSW: breadth while searching. Higher: recall for latency.")
    ivf_lists: int = Field(0, ge=0, description="IVF: clusters; 0 takes 4·√n at each training.")
    ivf_probe: int = Field(
        0, ge=0, description="IVF: clusters searched; 0 measures at each training how many `ivf_recall` needs."
    )
    ivf_recall: float = Field(
        0.99, gt=0, le=1, description="IVF: share of true neighbours that should lie in the clusters searched."
    )
    ivf_scan_limit: int = Field(
        32_000, ge=1_000, description="IVF: about as many vectors are scanned at most, whatever `ivf_recall` asks for."
    )
    pq_m: int = Field(32, ge=1, description="PQ: bytes per vector (must divide the dimension).")
    lsh_bits: int = Field(512, ge=8, description="LSH: bits per vector.")
    tree_count: int = Field(10, ge=1, description="Tree: trees in the forest.")
    train_at: int = Field(5_000, ge=1, description="Items at which a structure that needs training is first trained.")
    rebuild_tombstone_ratio: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of removed vectors at which the structure is rebuilt in the background.",
    )
    tombstones_kept: int = Field(
        200_000,
        ge=1,
        description="Removals remembered, so that an older entry that arrives late does not bring an item back.",
    )
    snapshot_interval_s: float = Field(60.0, gt=0, description="Time between snapshots while entries arrive.")
    snapshots_kept: int = Field(3, ge=1, description="Snapshots kept.")
    recall_sample_ratio: float = Field(
        0.02, ge=0, le=1, description="Share of live searches repeated exactly to measure recall."
    )


class SearchSettings(Section):
    """Visual search and its re-ranking."""

    default_k: int = Field(20, ge=1, description="Results when the request does not say.")
    max_k: int = Field(200, ge=1, description="Most results a request may ask for.")
    overfetch: float = Field(3.0, ge=1, description="Candidates fetched per result, for re-ranking to choose from.")
    min_score: float = Field(
        0.35, ge=-1, le=1, description="Cosine below which an image is not similar: nothing is an answer."
    )
    near_duplicate_bits: int = Field(
        4,
        ge=0,
        le=64,
        description="Images whose perceptual hashes differ in at most this many of 64 bits "
        "are near-duplicates of each other; the better-ranked one stays.",
    )
    near_duplicate_score: float = Field(
        0.97, ge=0, le=1, description="And whose embeddings are at least this similar (both must hold)."
    )
