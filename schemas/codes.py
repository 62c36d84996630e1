"""Every reason code, once: what a record, a refusal, a closed key, an error or a finding may say about why.

Codes are public: they stand in `decisions`, in answers of the collector and the key endpoint and in errors of
commands. `codes.json` is this table for other languages (`python -m schemas.codes` writes it), docs/codes.md
explains each to people, and a test keeps the three in step. A code never changes its name or meaning.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["discarded", "quarantined", "refused", "closed", "expired", "flag", "error"]
"""Where a code may stand.

discarded, quarantined, expired: outcome of a record. refused: a verdict's refusal of a processor. closed: a
key that is not given. flag: said about an accepted record. error: an answer to a command or over HTTP.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A reason: where it may stand, what it means, and what somebody can do about it."""

    name: str
    kinds: tuple[Kind, ...]
    meaning: str
    do: str


_TABLE = """
# no justification to hold or to hand out
no_basis: discarded refused
    No purpose the policy states for this source justifies the data.
    Name a purpose with a lawful basis for this source in the policy.
no_consent: discarded refused closed
    The purpose rests on consent and none is on record.
    Ask for consent; data collected before it stays refused.
withdrawn: discarded refused closed expired
    The person withdrew consent to the purpose.
    Nothing; a new grant covers data collected after it.
objected: discarded refused closed expired
    The person objected to the purpose (GDPR Art. 21).
    Nothing, unless an officer decides that compelling grounds override.
erased: discarded refused closed expired
    The person's data for the purpose was erased on request.
    Nothing; a later form or consent starts anew, linked to nothing earlier.
suppressed: discarded refused
    An identifier of the event is on the suppression list.
    Nothing; the list keeps a hash alone so that erased data does not return.
lapsed: discarded refused closed expired
    Every retention the record could have had is already over.
    Deliver events sooner; look at the publisher's delay.
gpc: discarded refused closed
    A Global Privacy Control signal denies the purpose.
    Nothing; the signal counts as an objection to sale, sharing and targeting.
restricted: refused closed
    Processing is restricted: kept, not used (GDPR Art. 18).
    Lift the restriction when the officer decides so.
no_subject: discarded
    The event names nobody the vault knows, and its kind never creates a person.
    Nothing; observations count only for people who are known.
unknown_purpose: discarded error
    The event or command names a purpose the policy does not have.
    Publish a policy with the purpose, or correct the publisher.
unknown_form: discarded error
    The policy knows no form of this name.
    Add the form to the policy's sources.
unknown_field: discarded error
    The policy does not say which category this field belongs to.
    Add the field to the source in the policy, or stop sending it.
unknown_source: discarded error
    The policy knows no such source or site.
    Add the source to the policy.
# tokens, duplicates, clocks
token_expired: discarded
    The pixel's token is authentic but past its day.
    Nothing; old mail stops counting.
token_invalid: discarded error
    The token is not one of ours.
    Mint tokens with this installation's keys.
duplicate: discarded
    The same event arrived again; the first one counts.
    Nothing; redelivery is expected.
conflicting_event_id: discarded
    Another content arrived under an event id already used.
    Use a fresh event id per event; the first content counts.
too_old: quarantined
    Collected more than 30 days before it arrived, without `backfill`.
    Set `backfill` if the delay is intended.
clock_future: flag quarantined
    Collected in the future; the time was clamped to its arrival.
    Mend the publisher's clock.
# unreadable or suspect
framing: quarantined error
    The value is not Confluent-framed: 0, four bytes of schema id, Avro.
    Publish with the client library or any Confluent serializer.
schema_unknown: quarantined error
    The schema id is not in the catalogue.
    Use an id of schemas/catalogue.json, or register the schema.
schema_mismatch: quarantined error
    The bytes do not fit the schema or the model at the path named.
    Encode with the schema whose id you send.
too_large: quarantined error
    Larger than the limit for its place.
    Send less: 64 KiB and 200 fields for a form, 1 MB for a record.
bot: quarantined
    The event looks automated (honeypot, fill time, rate).
    Look at it with `lapse quarantine show` and release it if it is a person.
bug: quarantined error
    Lapse failed on this record; it was set aside so that the rest goes on.
    Report it with the record id; release it after the repair.
# recipients and keys
not_granted: refused
    The policy grants the processor no such category for this purpose.
    Grant purpose and category to the processor in the policy.
not_approved: refused closed error
    The processor was never approved.
    `lapse processor approve NAME`.
suspended: refused closed
    The processor is suspended; its lapses still reach it.
    `lapse processor resume NAME` once the reason is gone.
assurance_ended: refused closed
    The processor's assurance or the mechanism it rests on has ended.
    Approve it again under a valid assurance.
not_yours: closed
    The delivery was made for another processor.
    Ask with the credential of the processor the delivery is for.
unknown: closed
    Nothing opens this: unknown, erased and tampered look alike.
    Treat the delivery as gone.
unverified: closed
    The address has to be checked first, and nobody has said yet whether it works.
    Nothing; it opens once the processor named by `verified_by` has found out.
undeliverable: closed
    The address was checked, and no mail can reach it.
    Correct the address at its source; the delivery never opens here.
expired: closed expired
    The retention of the purpose is over.
    Remove your copy; the depersonalization says until when.
hidden: closed
    The period is withheld while its destruction is pending.
    Ask again after the policy change is confirmed or taken back.
destroyed: closed
    The key of the period has been destroyed.
    Remove your copy; nothing brings it back.
superseded: discarded refused closed
    A newer revision of the record exists.
    Use the delivery with the highest revision.
# answers to callers
malformed: error
    The request or file cannot be parsed.
    Send well-formed JSON, YAML or form data of the stated media type.
bad_argument: error
    An argument is outside what the command or endpoint takes.
    See the command's help or the endpoint's OpenAPI.
bad_policy: error
    The policy contradicts itself or the law it states.
    Mend every finding; each says what would.
unauthorized: error
    The credential is missing or wrong.
    Use the credential printed when the site or processor was set up.
untrusted_certificate: error
    The server's certificate does not hold: another authority, another host, or out of date.
    Name the right authority's file, or have the certificate renewed.
forbidden: error
    The credential is right but may not do this.
    Ask the operator for a role that may.
not_found: error
    Nothing of this name or id exists here.
    Check the name; erased things are not found either.
timeout: error
    The caller or a dependency was too slow.
    Send the whole body at once; try again.
length_required: error
    The request has a body but does not say how long it is.
    Send Content-Length or chunked transfer encoding.
media_type: error
    The media type is not one of those the endpoint takes.
    Send JSON, urlencoded or multipart form data.
bad_method: error
    The address exists but does not take this method.
    Use a method the Allow header names.
rate_limited: error
    Too many requests from this address or credential.
    Wait as long as Retry-After says.
unavailable: error
    Broker, vault or registry does not answer, and nothing can be kept meanwhile.
    Try again; `lapse doctor` says which.
conflict: discarded error
    Somebody else changed the same thing first.
    Read it again and repeat.
fenced: error
    Another worker has taken over the partition.
    Nothing; this worker seeks to where the other one is.
unsigned: discarded error refused
    The command carries no signature.
    Sign with an operator's key that the policy names.
bad_signature: discarded error refused
    The signature does not fit the command and the key it names.
    Sign the command as it is sent, with the key named in `key_id`.
unknown_key: discarded error refused
    The policy names no operator's key of this id.
    Publish a policy with the key, or sign with one it has.
right_not_named: error refused
    The policy names no such right of people under `rights`.
    Name it in the next version of the policy.
not_objectable: error refused
    The purpose rests on a basis to which nobody may object (GDPR Art. 21).
    Leave it out; what an objection cannot end may be restricted or erased.
shared: error
    The identifier leads to more than one person, or to a record that names its person otherwise.
    Name one that is theirs alone, or let them show that it is theirs and say how with `--proven`.
stale_command: discarded error refused
    A command reached the log more than 30 days after it was signed, or dated more than a day ahead.
    Sign it anew; set the clock of the host that signs.
replayed: error refused
    A command of this id was already carried out.
    Give every command a fresh id.
brake: error refused
    A brake holds: more would be destroyed than planned, or the clock jumped.
    Look at the plan, then confirm.
second_person: error refused
    The step needs the approval of a second person.
    Have somebody else approve it.
incompatible_schema: error
    The schema would break readers or writers of an earlier version.
    Give new fields a default and remove none that has none.
# set-up and commands
usage: error
    The command was called without something it needs, or with something it does not take.
    See the command's help.
bad_id: error
    An id is not 32 hexadecimal digits.
    Copy it from the answer that named it.
bad_identifier: error
    A person is named as KIND:VALUE, for example email:ann@example.org.
    Use one of the kinds the message lists.
bad_key_file: error
    The file holds no key of the kind its place asks for.
    Restore the file from its backup.
bad_setting: error
    A setting is outside what it may be.
    See docs/operating.md, Settings.
unknown_site: error
    The policy names no such site.
    Name one of the policy's sites, or publish a policy that has it.
no_data: error
    The folder is not a data folder of Lapse.
    Make one with `lapse init`.
no_file: error
    The file named cannot be read.
    Name a readable file.
no_keys: error
    The folder of keys is gone; without it nothing opens.
    Restore it from its own backup.
not_empty: error
    A new data folder was asked for where something else lies.
    Name an empty or a new folder.
wrong_data_folder: error refused
    What lies in the data folder does not fit what was started on it.
    Name the folder it belongs to, or make a new one.
other_policy: error
    The data was made under another policy than the file given.
    Start with the published policy, then publish the new one.
policy_refused: error
    The new policy changes what may not change, such as a longer retention under old terms.
    Publish what may change; longer retention needs new terms.
not_confirmed: error
    The step changes much or destroys something and was not confirmed.
    Read what it would do, then say --yes.
clock_jumped: error
    The clock was to jump without confirmation; the brake holds and the time has not moved.
    Say --confirm to step through everything that is due on the way.
not_manual: error
    The installation runs on the system's clock.
    Use data made with `lapse init --test` and `lapse up --clock manual`.
not_test_data: error
    A manual clock or a fault point was asked for on data that is not for tests.
    Make other data with `lapse init --test`.
released: error closed
    The hold was released and what it kept is destroyed.
    Nothing brings it back.
already_up: error
    Another `lapse up` runs on this data.
    Stop it first.
not_running: error
    The installation is not up.
    Start it with `lapse up`.
not_configured: error
    A recipient cannot be called: its settings, address or credentials are missing or wrong.
    Put what the message names into the policy or into `keys/processors` (docs/processors.md).
not_ready: error
    A role was not ready in time.
    Look into the log the message names.
broker: error
    The broker did not take a command.
    `lapse doctor` says what is wrong.
broker_failed: error
    The embedded Kafka did not start.
    Read its log, or name another Kafka in LAPSE_BOOTSTRAP.
broker_in_use: error
    Another process runs the broker of this data folder.
    Stop that process, or use another data folder.
port_taken: error
    A port is in use.
    Choose another one, or 0 for a free one.
java_missing: error
    The embedded Kafka needs Java and none that is new enough was found.
    Install it, or name another Kafka in LAPSE_BOOTSTRAP.
maven_missing: error
    Kafka's jars are not here yet and there is no Maven to fetch them.
    Install it, or name another Kafka in LAPSE_BOOTSTRAP.
maven_failed: error
    Maven could not fetch Kafka's jars.
    Look at its access to a repository, or name another Kafka in LAPSE_BOOTSTRAP.
# answers of recipients
vendor_busy: error
    The recipient takes no more for now.
    Nothing; it is tried again, not sooner than the recipient asks.
vendor_down: error
    The recipient does not answer, or says that it cannot.
    Nothing; it is tried again. A circuit that stays open is worth a call to the recipient.
vendor_timeout: error
    No answer came in time; what was asked may have been done.
    Nothing; it is asked again, and counted as a copy until the recipient says otherwise.
vendor_answer: error
    The recipient's answer is not what its interface promises.
    Look at what stands between us and the recipient (a proxy, a login page).
vendor_kept: error
    The recipient reports an erasure, but the object can still be read there.
    Nothing; it is asked again.
vendor_late: error
    The recipient accepted an erasure and had not ended it by the time the policy gives it.
    Ask the recipient; the receipt follows if it ends after all.
vendor_unsure: error
    The recipient answered, but could not tell.
    Nothing; it is asked a few times more.
vendor_refused: error
    The recipient refuses this object for good.
    Look at the receipt's evidence; a refused erasure is asked again every day.
vendor_closed: error
    The recipient has closed its endpoint for good (HTTP 410).
    Agree on a new address with the recipient, then restart the connector.
vendor_login: error
    The recipient does not accept our credentials.
    Renew the secret's file, then restart the connector.
vendor_redirect: error
    The recipient answers with a redirect, which is never followed.
    Put the final address into the policy.
address_refused: error
    The address is private, or not HTTPS, and the policy does not allow it.
    Use a public https address, or allow private ones in a test set-up.
done_by_hand: flag
    An operator's receipt, signed: somebody has shown that it is done.
    Nothing; its evidence is the SHA-256 of what was shown.
"""


def _read(table: str) -> dict[str, Code]:
    """Read blocks of three lines: `name: kinds`, the meaning, what to do."""
    kinds: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
    lines = [line.strip() for line in table.splitlines() if line.strip() and not line.startswith("#")]
    codes = {}
    for head, meaning, do in zip(lines[0::3], lines[1::3], lines[2::3], strict=True):
        name, _, places = head.partition(": ")
        codes[name] = Code(name=name, kinds=tuple(kinds[k] for k in places.split()), meaning=meaning, do=do)
    return codes


CODES: Mapping[str, Code] = _read(_TABLE)
"""Every code by its name."""


def as_json() -> str:
    """Return the table as the text of `codes.json`: `{code: {kinds, meaning, do}}`."""
    table = {c.name: {"kinds": list(c.kinds), "meaning": c.meaning, "do": c.do} for c in CODES.values()}
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write `codes.json` beside this module."""
    Path(__file__).with_name("codes.json").write_text(as_json(), encoding="utf-8")
    return 0


if __name__ == "__main__":  # pragma: no cover
    raise SystemExit(main())
