"""Decoders that are stopped again."""

from collections.abc import Callable, Iterator

import pytest

from core.settings import MediaSettings
from models.media.decoder import MediaDecoder


@pytest.fixture
def make_decoder() -> Iterator[Callable[..., MediaDecoder]]:
    """Start a decoder with some settings; all are closed at the end of the test."""
    started: list[MediaDecoder] = []

    def make(**settings: object) -> MediaDecoder:
        decoder = MediaDecoder(MediaSettings(**settings))
        decoder.start()
        started.append(decoder)
        return decoder

    yield make
    for decoder in started:
        decoder.close()


@pytest.fixture
def decoder(make_decoder: Callable[..., MediaDecoder]) -> MediaDecoder:
    return make_decoder()
