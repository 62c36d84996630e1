"""How one Salesforce org is called: what the policy says and what its credentials file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from processors.choices import flag, text, words
from schemas.errors import BadInput

_VERSION = re.compile(r"v[1-9]\d{1,2}\.0", re.ASCII)
_OBJECT = re.compile(r"Contact|Lead")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)
_CONSTANT = re.compile(r"[^\x00-\x1f]{1,80}")
_PURPOSE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SalesforceSettings:
    """One org."""

    client_id: str = field(repr=False)
    """Consumer key of an external client app with the client-credentials flow and an execution user."""
    client_secret: str = field(repr=False)
    base_url: str
    """The org's My Domain, `https://acme.my.salesforce.com`: where it logs in and where it is called."""
    api_version: str = "v62.0"
    object: str = "Contact"
    """`Contact` or `Lead`."""
    external_id_field: str = "Subject_Key__c"
    """A text field of the object, external id and unique, that holds the pseudonym."""
    last_name: str = "(not given)"
    """What stands in `LastName`, which cannot be empty, where no name may stand."""
    company: str = "(not given)"
    """The same for a Lead's `Company`."""
    opt_out_fields: tuple[str, ...] = ("HasOptedOutOfEmail", "DoNotCall")
    """Check boxes that an end sets."""
    mail_purposes: tuple[str, ...] = ()
    """Purposes that allow e-mail: `HasOptedOutOfEmail` is set once none of them stands."""
    call_purposes: tuple[str, ...] = ()
    """Purposes that allow calls: the same with `DoNotCall`."""
    blank_also: tuple[str, ...] = ()
    """Fields that others fill and an end empties, too."""
    individual: bool = False
    """Whether the record's `Individual` gets its flags; only where Data Protection and Privacy is on."""
    hard_delete: bool = False
    """Whether an erasure empties the recycle bin of it: needs the permission "Bulk API Hard Delete"."""
    save_duplicates: bool = False
    """Whether duplicate rules that only warn are passed."""
    allow_private: bool = False
    """Let http and private addresses pass: for the demo and test set-ups alone."""

    @classmethod
    def read(cls, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> SalesforceSettings:
        """Return the settings; `BadInput` names what is missing or wrong, never what a secret is."""
        for name in ("client_id", "client_secret"):
            value = secrets.get(name, "")
            if not value or not value.isascii() or not value.isprintable():
                what = "no consumer key and secret of an external client app"
                raise BadInput("bad_argument", what, name, f"write {name} into the credentials file")
        usual: dict[str, Any] = {each.name: each.default for each in fields(cls)}
        return cls(
            client_id=secrets["client_id"],
            client_secret=secrets["client_secret"],
            api_version=text(said, "api_version", usual["api_version"], _VERSION),
            object=text(said, "object", usual["object"], _OBJECT),
            external_id_field=text(said, "external_id_field", usual["external_id_field"], _NAME),
            last_name=text(said, "last_name", usual["last_name"], _CONSTANT),
            company=text(said, "company", usual["company"], _CONSTANT),
            opt_out_fields=words(said, "opt_out_fields", usual["opt_out_fields"], _NAME),
            mail_purposes=words(said, "mail_purposes", (), _PURPOSE),
            call_purposes=words(said, "call_purposes", (), _PURPOSE),
            blank_also=words(said, "blank_also", (), _NAME),
            individual=flag(said, "individual", default=False),
            hard_delete=flag(said, "hard_delete", default=False),
            save_duplicates=flag(said, "save_duplicates", default=False),
            allow_private=flag(said, "allow_private", default=False),
            base_url=text(said, "base_url", None),  # last: without it what else is stated is still judged
        )
