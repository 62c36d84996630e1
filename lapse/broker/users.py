"""Who may do what: a cluster's SCRAM users and their rights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import errors
from kafka.admin import ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion

from lapse.broker import acls
from lapse.broker.asking import Asking
from lapse.broker.connection import Credentials
from lapse.broker.principals import Rights
from lapse.broker.translation import translate
from schemas.errors import Bug

_SCRAM = ScramMechanism.SCRAM_SHA_512


@dataclass(frozen=True, kw_only=True, slots=True)
class RightsReport:
    """What `apply_rights` did; without an authorizer, where nobody is kept out, `supported` is False."""

    supported: bool
    created: int = 0
    removed: int = 0


class Users(Asking):
    """Users and rights."""

    def put_users(self, users: Iterable[Credentials]) -> None:
        """Create or replace SCRAM-SHA-512 users; returns when the broker knows them all."""
        upserts = [UserScramCredentialUpsertion(u.username, _SCRAM, u.password) for u in users]
        if upserts:
            self._alter_users(upserts)
            names = {upsert.user for upsert in upserts}
            self._until(lambda: names <= self.users(), "new users")

    def remove_users(self, names: Iterable[str]) -> None:
        """Delete these users and every right of theirs; a name nobody has is skipped."""
        gone = set(names) & self.users()
        self.apply_rights(dict.fromkeys(gone, ()))
        if gone:
            self._alter_users([UserScramCredentialDeletion(name, _SCRAM) for name in gone])
            self._until(lambda: not gone & self.users(), "removed users")

    def users(self) -> frozenset[str]:
        """Return the names of all SCRAM users."""
        return frozenset(self._call(self._client.describe_user_scram_credentials))

    def _alter_users(self, alterations: Sequence[object]) -> None:
        result = self._call(lambda: self._client.alter_user_scram_credentials(alterations))
        if failed := {user: why for user, why in result.items() if why}:
            raise Bug(code="bug", what=f"Kafka refused SCRAM users: {failed}", where=self._where)

    def apply_rights(self, table: Mapping[str, Rights]) -> RightsReport:
        """Give each user of the table exactly its rights: create what is missing, remove the rest."""
        wanted = {
            acls.spelled(a): a for u, rights in table.items() for a in (acls.binding(u, r) for r in rights)
        }
        live = self._rights_of(table)
        if live is None:
            return RightsReport(supported=False)
        missing = [acl for key, acl in wanted.items() if key not in live]
        surplus = [acl for key, acl in live.items() if key not in wanted]
        if missing:
            failed = self._call(lambda: self._client.create_acls(missing))["failed"]
            if failed:
                raise translate(failed[0](), f"rights at {self._where}")
        if surplus:
            for _, _, error in self._call(
                lambda: self._client.delete_acls([acls.exactly(a) for a in surplus])
            ):
                if error is not errors.NoError:
                    raise translate(error(), f"rights at {self._where}")
        if missing or surplus:
            self._until(lambda: (self._rights_of(table) or {}).keys() == wanted.keys(), "rights")
        return RightsReport(supported=True, created=len(missing), removed=len(surplus))

    def rights(self) -> tuple[tuple[str, ...], ...] | None:
        """Return every right on the cluster, as `acls.spelled` spells it.

        None on a cluster without an authorizer.
        """
        live = self._rights_of(None)
        return None if live is None else tuple(sorted(live))

    def compare_rights(
        self, table: Mapping[str, Rights]
    ) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return by user what it lacks of its rights in the table, and what it has beyond them, in words.

        Nothing on a cluster without an authorizer.
        """
        live: Mapping[tuple[str, ...], Any] | None = self._rights_of(table)
        wanted: set[tuple[str, ...]] = {
            acls.spelled(acls.binding(u, r)) for u, rights in table.items() for r in rights
        }
        missing: dict[str, list[str]] = {}
        surplus: dict[str, list[str]] = {}
        if live is not None:
            for key in sorted(wanted - live.keys()):
                missing.setdefault(key[0], []).append(acls.said(key))
            for key in sorted(live.keys() - wanted):
                surplus.setdefault(key[0], []).append(acls.said(key))
        return missing, surplus

    def _rights_of(self, users: Iterable[str] | None) -> dict[tuple[str, ...], Any] | None:
        def describe() -> Sequence[Any] | None:
            try:
                found, _ = self._client.describe_acls(acls.of_user(None))
            except errors.SecurityDisabledError:
                return None
            return list(found)

        found = self._call(describe)
        if found is None:
            return None
        spelled = {acls.spelled(acl): acl for acl in found}
        wanted = None if users is None else set(users)
        return {key: acl for key, acl in spelled.items() if wanted is None or key[0] in wanted}
