"""The one table of who may call what. A route that is not in it is answered to nobody."""

from collections.abc import Mapping

from core.access.roles import GRANTED, Role
from serving.access import EVERYBODY, Allowed
from serving.gateway.rates import Kind

_producer, _reader, _reviewer, _admin, _service = Role
_SENDERS = frozenset({_producer, _admin})
_READERS = frozenset({_reader, _reviewer, _admin})
_REVIEWERS = frozenset({_reviewer, _admin})
_ADMINS = frozenset({_admin})
_WATCHERS = frozenset({_admin, _service})
_ANY_ROLE = frozenset(GRANTED)

#: Method and path template of every route, with who may call it and what kind of call it is to the rate limits.
#: HEAD is as GET.
ROUTES: Mapping[tuple[str, str], tuple[Allowed, Kind]] = {
    ("POST", "/v1/media"): (_SENDERS, Kind.media),
    ("GET", "/v1/media/{media_id}"): (_READERS, Kind.read),
    ("POST", "/v1/events/{stream}"): (_SENDERS, Kind.events),
    ("POST", "/v1/search/images"): (_READERS, Kind.search),
    ("GET", "/v1/recommender"): (_READERS, Kind.read),
    ("GET", "/v1/recommendations/{user_id}"): (_READERS, Kind.search),
    # What was left out of one person's answer, and so what they have seen and hidden.
    ("GET", "/v1/recommendations/{user_id}/why-not/{item_id}"): (_REVIEWERS, Kind.search),
    # As the catalogue has them: hidden and private items too.
    ("GET", "/v1/items/{item_id}"): (_REVIEWERS, Kind.read),
    # What somebody has searched for, and what was left out of the answer.
    ("GET", "/v1/traces/{trace_id}"): (_REVIEWERS, Kind.read),
    ("GET", "/v1/features/items/{item_id}"): (_READERS, Kind.read),
    # One person's behaviour.
    ("GET", "/v1/features/users/{user_id}"): (_WATCHERS, Kind.read),
    # How many posts were taken down and lowered, and for what.
    ("GET", "/v1/restrictions"): (_REVIEWERS, Kind.read),
    ("GET", "/v1/index"): (_READERS, Kind.read),
    ("POST", "/v1/index/verify"): (_ADMINS, Kind.maintenance),
    ("POST", "/v1/index/rebuild"): (_ADMINS, Kind.maintenance),
    ("POST", "/v1/index/snapshot"): (_ADMINS, Kind.maintenance),
    # Probes of orchestrators show no tokens. These two say "ok", or what is waited for; no data.
    ("GET", "/livez"): (EVERYBODY, Kind.free),
    ("GET", "/readyz"): (EVERYBODY, Kind.free),
    ("GET", "/metrics"): (_WATCHERS, Kind.free),
    ("GET", "/openapi.json"): (_ANY_ROLE, Kind.read),
    # Swagger's page takes its scripts from elsewhere; with tokens it is not served at all (see `create_api`).
    ("GET", "/docs"): (_ANY_ROLE, Kind.read),
    ("GET", "/docs/oauth2-redirect"): (_ANY_ROLE, Kind.read),
    ("GET", "/"): (EVERYBODY, Kind.free),  # leads to the console
    ("GET", "/console"): (_READERS, Kind.read),
    ("GET", "/console/homepage"): (_READERS, Kind.read),
    ("GET", "/console/sign-in"): (EVERYBODY, Kind.free),
    ("POST", "/console/session"): (EVERYBODY, Kind.free),  # the token in its body is verified
    ("DELETE", "/console/session"): (EVERYBODY, Kind.free),
    ("GET", "/console/{name}"): (EVERYBODY, Kind.free),  # style, script and icon
}
