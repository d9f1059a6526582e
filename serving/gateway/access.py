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
#: An application acts for its users: for the author of a post, or for a reader who reports one.
_FOR_AUTHORS = frozenset({_producer, _reviewer, _admin})

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
    # What would be decided about a post. Readers may try texts, too; what is known of an author counts for nobody who
    # could not see decisions about them (the route says so). It costs as much as a search.
    ("POST", "/v1/moderation/score"): (_ANY_ROLE, Kind.search),
    # The rules that everybody's posts are held to.
    ("GET", "/v1/moderation/policy"): (_ANY_ROLE, Kind.read),
    # How much harm is seen, and how reports and appeals end.
    ("GET", "/v1/moderation/measures"): (_REVIEWERS, Kind.read),
    # The statement of reasons is the author's: the application that posts for them asks for it, and reviewers.
    ("GET", "/v1/posts/{post_id}/decision"): (_FOR_AUTHORS, Kind.read),
    # With every score, and who decided.
    ("GET", "/v1/posts/{post_id}/decisions"): (_REVIEWERS, Kind.read),
    # Readers report as themselves, applications for anybody (the route says so). An event like those of the collector.
    ("POST", "/v1/posts/{post_id}/reports"): (_ANY_ROLE, Kind.events),
    # An author appeals through the application that posts for them.
    ("POST", "/v1/decisions/{decision_id}/appeals"): (_SENDERS, Kind.events),
    ("GET", "/v1/appeals/{appeal_id}"): (_FOR_AUTHORS, Kind.read),
    # Everything about a post and its author, and the power over both.
    ("GET", "/v1/review/jobs"): (_REVIEWERS, Kind.read),
    ("GET", "/v1/review/jobs/{job_id}"): (_REVIEWERS, Kind.read),
    # Media of any post, as nobody else is shown them.
    ("GET", "/v1/review/media/{media_id}"): (_REVIEWERS, Kind.read),
    ("POST", "/v1/review/lease"): (_REVIEWERS, Kind.read),
    ("POST", "/v1/review/jobs/{job_id}/lease"): (_REVIEWERS, Kind.read),
    ("POST", "/v1/review/jobs/{job_id}/release"): (_REVIEWERS, Kind.read),
    ("POST", "/v1/review/jobs/{job_id}/decision"): (_REVIEWERS, Kind.read),
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
    ("GET", "/console/review"): (_REVIEWERS, Kind.read),
    ("GET", "/console/review/{job_id}"): (_REVIEWERS, Kind.read),
    ("GET", "/console/sign-in"): (EVERYBODY, Kind.free),
    ("POST", "/console/session"): (EVERYBODY, Kind.free),  # the token in its body is verified
    ("DELETE", "/console/session"): (EVERYBODY, Kind.free),
    ("GET", "/console/{name}"): (EVERYBODY, Kind.free),  # style, script and icon
}
