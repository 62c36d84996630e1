"""The policy's public summary (`GET <collector>/policy`): unknown names fail at `publish`."""

from collections.abc import Iterable, Mapping

import msgspec

from lapse_client.errors import Invalid
from lapse_client.records import (
    Consent,
    ConsentStated,
    CookieObserved,
    EmailOpened,
    FormSubmitted,
    Identifier,
    IdentifierKind,
    Publishable,
)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One source: the fields it has, which of them identify, and what it states."""

    fields: list[str]
    identifiers: dict[str, IdentifierKind] = {}
    purposes: list[str] = []
    notice: str | None = None
    sites: list[str] = []


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The summary; members it has besides are left to later versions."""

    version: int
    sites: list[str]
    purposes: list[str]
    sources: dict[str, Source]

    @classmethod
    def from_json(cls, text: str | bytes) -> "Policy":
        """Read what the collector serves; Invalid where it is something else."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Invalid("not a policy's summary", code="bad_policy") from None

    def check(self, event: Publishable) -> None:
        """Raise Invalid for a site, form, field or purpose the policy does not know."""
        if event.site not in self.sites:
            raise Invalid("the policy knows no such site", code="unknown_source", where="site")
        match event:
            case FormSubmitted():
                self._form(event)
            case CookieObserved():
                self._cookie(event)
            case ConsentStated():
                self._purposes(event.consents)
            case EmailOpened():
                self._source("email-open")

    def identifiers(self, event: FormSubmitted) -> list[Identifier]:
        """What the form's fields say about who sent it."""
        kinds: Mapping[str, IdentifierKind] = self._source(f"form/{event.form}").identifiers
        named = ((kind, event.fields.get(name, "").strip()) for name, kind in kinds.items())
        return [Identifier(kind=kind, value=value) for kind, value in named if value]

    def _source(self, name: str) -> Source:
        found = self.sources.get(name)
        if found is None:
            code = "unknown_form" if name.startswith("form/") else "unknown_source"
            raise Invalid("the policy knows no such source", code=code)
        return found

    def _form(self, event: FormSubmitted) -> None:
        source = self._source(f"form/{event.form}")
        if source.sites and event.site not in source.sites:
            raise Invalid("the form is not this site's", code="unknown_form")
        self._fields(event.fields, source, "fields")
        self._purposes(event.consents)

    def _cookie(self, event: CookieObserved) -> None:
        source = self._source("cookie")
        self._fields((f"properties.{name}" for name in event.properties), source, "properties")
        self._purposes(event.consents)

    @staticmethod
    def _fields(names: Iterable[str], source: Source, where: str) -> None:
        if not set(names) <= set(source.fields):
            raise Invalid("the policy knows no such field", code="unknown_field", where=where)

    def _purposes(self, consents: Iterable[Consent]) -> None:
        if not {each.purpose for each in consents} <= set(self.purposes):
            raise Invalid("the policy has no such purpose", code="unknown_purpose", where="consents")
