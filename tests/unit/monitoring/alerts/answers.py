"""Answers: whether calls succeed, how fast, and what is refused."""

from tests.unit.monitoring.alerts.case import Case, objective

_REQUESTS = 'riverlight_http_request_seconds_%s{route="%s",method="POST",status="%s"%s}'
_SEARCH = "/v1/search/images"


def _answers(status: str, values: str, route: str = _SEARCH) -> dict[str, str]:
    return {_REQUESTS % ("count", route, status, ""): values}


def _search_times(good: int, all_: int, samples: int) -> dict[str, str]:
    return {
        _REQUESTS % ("bucket", _SEARCH, "200", ',le="0.4"'): f"0+{good}x{samples}",
        _REQUESTS % ("count", _SEARCH, "200", ""): f"0+{all_}x{samples}",
    }


CASES: list[Case] = [
    Case(
        "AnsweredBurnsFast",
        "two in a hundred fail",
        _answers("200", "0+98x90") | _answers("500", "0+2x90"),
        "85m",
        (objective("answered"),),
    ),
    Case(
        "AnsweredBurnsFast",
        "two in a hundred are shed",
        _answers("200", "0+98x90")
        | _answers("429", "0+2x90", "unmatched")
        | {f'riverlight_http_requests_shed_total{{route="{_SEARCH}"}}': "0+2x90"},
        "85m",
        (objective("answered"),),
    ),
    Case("AnsweredBurnsFast", "nothing has ever failed", _answers("200", "0+98x90"), "85m"),
    Case(
        "AnsweredBurnsFast",
        "clients that send nonsense, or too much, are their own fault",
        _answers("200", "0+50x90") | _answers("400", "0+50x90") | _answers("429", "0+50x90"),
        "85m",
    ),
    Case(
        "AnsweredBurnsFast",
        "a gateway that is starting is asked /readyz and says 503",
        _answers("200", "0+1x90") | _answers("503", "0+60x90", "/readyz"),
        "85m",
    ),
    Case(
        "AnsweredBurnsSlowly",
        "two in a thousand fail for days",
        _answers("200", "0+998x500") | _answers("500", "0+2x500"),
        "80h",
        (objective("answered"),),
        step="10m",
    ),
    Case(
        "AnsweredBurnsSlowly",
        "one in two thousand fails for days",
        _answers("200", "0+1999x500") | _answers("500", "0+1x500"),
        "80h",
        step="10m",
    ),
    Case(
        "FastBurnsFast",
        "a quarter of the searches takes over 400 ms",
        _search_times(75, 100, 90),
        "85m",
        (objective("fast", route=_SEARCH),),
    ),
    Case("FastBurnsFast", "all searches are fast", _search_times(100, 100, 90), "85m"),
    Case("FastBurnsFast", "nobody searches", _search_times(0, 0, 90), "85m"),
    Case(
        "FastBurnsSlowly",
        "two in a hundred searches are slow for days",
        _search_times(98, 100, 500),
        "80h",
        (objective("fast", route=_SEARCH),),
        step="10m",
    ),
    Case("FastBurnsSlowly", "one in two hundred is slow", _search_times(199, 200, 500), "80h", step="10m"),
    Case(
        "Shedding",
        "one a second",
        {f'riverlight_http_requests_shed_total{{route="{_SEARCH}"}}': "0+60x20"},
        "15m",
        ({"route": _SEARCH},),
    ),
    Case("Shedding", "one in all", {f'riverlight_http_requests_shed_total{{route="{_SEARCH}"}}': "0x5 1x15"}, "15m"),
    Case(
        "EncoderFails",
        "one image in ten",
        {
            'riverlight_encoder_images_total{outcome="ok"}': "0+90x20",
            'riverlight_encoder_images_total{outcome="internal"}': "0+10x20",
        },
        "15m",
        ({},),
    ),
    Case(
        "EncoderFails",
        "people send files that are no images",
        {
            'riverlight_encoder_images_total{outcome="ok"}': "0+50x20",
            'riverlight_encoder_images_total{outcome="undecodable-media"}': "0+50x20",
        },
        "15m",
    ),
]
