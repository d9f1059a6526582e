"""Governance: the calls for what moderation goes by (lists, policies, sweeps) and answers for (audit, erasure)."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice

from core.errors import Conflict, InvalidInput
from core.moderation import HARM_CLASSES, HarmClass
from storage.catalogue import inbox
from storage.catalogue.base import clean
from storage.moderation import audit, audit_check, erasing, known_harm, policies, republishing, sweeping, sweeps
from storage.moderation.audit import AuditEntry, Entry, Head
from storage.moderation.audit_check import AuditCheck
from storage.moderation.erasing import Erasure
from storage.moderation.known_harm import KnownChange, KnownHash
from storage.moderation.policies import PolicyText
from storage.moderation.republishing import Republished
from storage.moderation.sweeping import Undone
from storage.moderation.sweeps import Sweep, SweepState
from storage.moderation.transactions import Transactions

_IMPORT = 10_000  # hashes a transaction: others who write wait for less than a second
_LISTED = 20  # hashes that an audit entry names; of more it has the hash of all


class Governance(Transactions):
    """Known harm, policies, sweeps, the audit log, erasure."""

    # --- known harm --------------------------------------------------------------------------------------------

    def add_known(self, list_name: str, hashes: Sequence[str], harm: HarmClass, added_by: str) -> int:
        """Put hashes on a list; return how many were not on it for this harm before.

        Raises:
            InvalidInput: a hash is not 64 bits in hex, the list has no name, or there is no such harm.
        """
        wanted = known_harm.checked(hashes)
        if not list_name or harm not in HARM_CLASSES:
            raise InvalidInput(
                f"a list needs a name and a harm of {', '.join(HARM_CLASSES)}; got {list_name!r}, {harm!r}"
            )
        with self._working() as work:
            number, last = known_harm.add(work.connection, list_name, wanted, harm, added_by, work.now)
            if number:
                payload = {"harm": harm, "changed": number, "last": last, **_named(wanted)}
                work.entries.append(Entry(f"admin:{added_by}", "known-harm.added", list_name, payload))
            return number

    def import_known(self, list_name: str, hashes: Iterable[str], harm: HarmClass, added_by: str) -> int:
        """Put any number of hashes on a list, some thousands a transaction; return how many are new.

        Interrupted, it has done a part: the same call again does the rest. Raises InvalidInput as `add_known` does.
        """
        waiting, number = iter(hashes), 0
        while some := list(islice(waiting, _IMPORT)):
            number += self.add_known(list_name, some, harm, added_by)
        return number

    def remove_known(self, list_name: str, hashes: Sequence[str], removed_by: str) -> int:
        """Take hashes off a list; return how many were on it."""
        wanted = known_harm.checked(hashes)
        with self._working() as work:
            removed = known_harm.remove(work.connection, list_name, wanted, work.now)
            if removed:
                payload = {"changed": len(removed), **_named(removed)}
                work.entries.append(Entry(f"admin:{removed_by}", "known-harm.removed", list_name, payload))
            return len(removed)

    def known_since(self, seq: int, limit: int = 50_000) -> list[KnownChange]:
        """Return changes of all lists behind number `seq`, in order; go on from the last one's `seq`."""
        with self._database.reading() as connection:
            return known_harm.since(connection, seq, limit)

    def known(self, hashes: Sequence[str]) -> list[KnownHash]:
        """Return what every list says of these hashes, removed entries, too."""
        with self._database.reading() as connection:
            return known_harm.read(connection, hashes)

    def count_known(self) -> dict[str, int]:
        """Return how many hashes are on each list."""
        with self._database.reading() as connection:
            return known_harm.count(connection)

    # --- policies and sweeps -----------------------------------------------------------------------------------

    def put_policy(self, version: str, text: str) -> None:
        """Keep a version of the policy, before anything is decided by it. The same again changes nothing.

        Raises:
            Conflict: another text was seen under this version.
        """
        text = clean(text)
        with self._working() as work:
            there = policies.read(work.connection, version)
            if there is None:
                policies.add(work.connection, PolicyText(version, text, work.now))
                payload = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
                work.entries.append(Entry("system", "policy.seen", version, payload))
            elif there.text != text:
                raise Conflict(
                    f"policy version {version!r} has another text already: a changed policy is a new version"
                )

    def policy(self, version: str) -> PolicyText | None:
        """Return a version of the policy as its file said it."""
        with self._database.reading() as connection:
            return policies.read(connection, version)

    def policies(self, limit: int = 20) -> list[PolicyText]:
        """Return versions of the policy, the newest first."""
        with self._database.reading() as connection:
            return policies.newest(connection, limit)

    def start_sweep(
        self, sweep_id: str, policy_version: str, stages: Sequence[float], started_by: str, reason: str
    ) -> Sweep:
        """Start a sweep, in its first stage; the same again returns it as it stands.

        Its decisions are recorded like any others, with actor `sweep` and the sweep's id as actor id.

        Raises:
            InvalidInput: stages that do not rise to at most 1, or no reason.
            Conflict: there is another sweep with this id.
        """
        with self._working() as work:
            return sweeping.start(work, sweep_id, policy_version, stages, started_by, reason)

    def change_sweep(
        self, sweep_id: str, by: str, *, state: SweepState | None = None, stage: int | None = None
    ) -> Sweep:
        """Pause, go on with, advance or finish a sweep.

        Raises:
            NotFound: there is no such sweep.
            Conflict: it cannot become that.
        """
        with self._working() as work:
            return sweeping.change(work, sweep_id, by, state, stage)

    def undo_sweep(self, sweep_id: str, by: str, reason: str, limit: int = 200) -> Undone:
        """Take back up to `limit` of a sweep's decisions that are still in force; call until none is `left`.

        What was in force before comes into force again. Posts that were decided again since stay as they are. Once
        begun, the sweep decides nothing more.

        Raises:
            NotFound: there is no such sweep.
            InvalidInput: no reason.
        """
        with self._working() as work:
            return sweeping.undo(work, sweep_id, by, reason, limit)

    def sweep(self, sweep_id: str) -> Sweep | None:
        """Return a sweep as it stands."""
        with self._database.reading() as connection:
            return sweeps.read(connection, sweep_id)

    def sweeps(self, limit: int = 20) -> list[Sweep]:
        """Return sweeps, the newest first."""
        with self._database.reading() as connection:
            return sweeps.newest(connection, limit)

    def republish(self, by: str, after: str = "", limit: int = 500) -> Republished:
        """Put the verdicts of up to `limit` posts into the outbox again, for a topic that has lost them.

        Each has the version that it had, so it may be done twice, and while the system runs. Go on from `place`.
        """
        with self._working() as work:
            return republishing.republish(work, after, limit, clean(by))

    # --- audit and erasure -------------------------------------------------------------------------------------

    def audit_head(self) -> Head:
        """Return the number and hash of the newest audit entry."""
        with self._database.reading() as connection:
            return audit.head(connection)

    def audit_entries(self, subject: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return the newest audit entries, newest first."""
        with self._database.reading() as connection:
            return audit.read(connection, subject, limit)

    def verify_audit(self, head: str | None = None) -> AuditCheck:
        """Read the whole audit log, and compare decisions with what it says of them.

        Args:
            head: the hash of an entry, kept elsewhere: the log has to hold it.
        """
        with self._database.reading() as connection:
            return audit_check.check(connection, head)

    def erase_user(self, user_id: str, *, consumer: str | None = None, event_ids: Sequence[str] = ()) -> Erasure:
        """Forget a person: profile, posts' contents, comments, words of reports and appeals, quotes in decisions.

        Decisions, reports and appeals stay under a new pseudonym. Their posts' verdicts become tombstones. The audit
        log stays as it is, because it holds nothing personal. To erase somebody again changes nothing.
        """
        with self._working() as work:
            if consumer is not None:
                inbox.record(work.connection, consumer, event_ids, work.now)
            return erasing.erase(work, user_id)


def _named(hashes: Sequence[str]) -> dict[str, object]:
    if len(hashes) <= _LISTED:
        return {"hashes": list(hashes)}
    return {"given": len(hashes), "sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest()}
