"""What readings mean: pure functions from what was measured to findings, tested by tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lapse.backlog import HALF_GONE, Backlog
from lapse.doctor.finding import Finding, bad, to_do, well
from lapse.topics import words
from schemas.models import Right

DISK_FREE = 0.1
"""Below a tenth free, a broker that cannot write is near."""
LATE_SECONDS = 60.0
"""A bucket this much past its due date, a message owed this long, a look at the clock this old: stopped."""
CLOCK_SECONDS = 5.0
LAG_WARNS = 100_000
QUARANTINE_HOUR = 250
"""Inputs quarantined within an hour that are no noise any more."""
CERTIFICATE_DAYS = 30.0
DAY = 86_400.0


# ---- roles -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleWord:
    """What a role said of itself, and whether its process answers at its metrics port."""

    role: str
    ready: bool
    waiting_for: str | None
    answers: bool
    log: str


def roles(words_: Sequence[RoleWord]) -> Iterator[Finding]:
    """A role is well that is ready and whose process answers; a frozen one has said it was ready."""
    for word in words_:
        name, look = f"role {word.role}", f"read {word.log}; the supervisor restarts what ends"
        if not word.ready:
            why = word.waiting_for or "it has said nothing yet"
            yield bad(name, f"waits for {why}", where=word.log, do=look)
        elif not word.answers:
            what = "said it is ready, and does not answer: frozen, or gone"
            do = "end the process; the supervisor starts it again"
            yield bad(name, what, where=word.log, do=do)
        elif word.waiting_for:
            yield well(name, f"works; waits for {word.waiting_for}", word.log)
    waiting = sum(not (word.ready and word.answers) for word in words_)
    yield well("roles", f"{len(words_) - waiting} of {len(words_)} ready")


# ---- log-ins and rights ------------------------------------------------------------------------------------
def logins(refused: Mapping[str, str], asked: int, where: str) -> Iterator[Finding]:
    """`refused`: what the broker said, by Kafka user."""
    for user, why in refused.items():
        do = (
            "stop and start `lapse up`: it puts the users of DATA/keys back; or restore the file of that user"
        )
        yield bad(f"login {user}", why, where=where, do=do)
    if not refused:
        yield well("logins", f"{asked} Kafka users get in")


def rights(missing: Mapping[str, Sequence[str]], surplus: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Rights a user lacks stop it without a word; rights nobody planned let somebody in."""
    for user, lacks in missing.items():
        figure = f"may not {', '.join(lacks[:3])}" + (f" and {len(lacks) - 3} more" if len(lacks) > 3 else "")
        do = "stop and start `lapse up`, which gives each user exactly its rights"
        yield bad(f"rights {user}", figure, where="the cluster's ACLs", do=do)
    for user, has in surplus.items():
        figure = f"may {', '.join(has[:3])}, which nobody planned"
        do = "find out who gave it; stop and start `lapse up` to take it away"
        yield bad(f"rights {user}", figure, where="the cluster's ACLs", do=do)
    if not missing and not surplus:
        yield well("rights", "each user has exactly its own")


# ---- recipients --------------------------------------------------------------------------------------------
def tasks(counts: Mapping[str, Mapping[str, int]], *, letters: int, told: bool) -> Iterator[Finding]:
    """`counts`: open tasks by processor and kind; `told`: whether there is an officer to write to."""
    for name, kinds in counts.items():
        if any(kinds.values()):
            figure = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
            do = f"lapse task list --processor {name}"
            yield bad(f"tasks {name}", figure, where="what it was asked to erase", do=do)
    opened = sum(sum(kinds.values()) for kinds in counts.values())
    if opened and not told:
        do = "set LAPSE_OFFICER and LAPSE_SMTP, so that somebody hears of it in time"
        yield bad("tasks", f"{opened} open, and nobody is written to", where="settings", do=do)
    else:
        yield well("tasks", f"{opened} open" + (f"; {letters} letters wait" if letters else ""))


# ---- people ------------------------------------------------------------------------------------------------
def requests(counts: Mapping[Right, tuple[int, int]]) -> Iterator[Finding]:
    """`counts`: requests of people that wait, and those of them past their day, by right."""
    for right, (_, late) in counts.items():
        if late:
            figure = f"{late} not answered in time"
            do = "lapse request list; answer each with --request ID, or lapse request refuse"
            yield bad(f"requests {right}", figure, where="what people asked for", do=do)
    yield well("requests", f"{sum(waits for waits, _ in counts.values())} wait for an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unset:
    """A recipient that may receive and cannot be called: what it lacks, and who waits for that.

    `tried` says that somebody has put something there already; `waiting` are the records unread on its topic,
    `old` those of them unread for a day (or half of what the topic keeps); `held` the objects it has.
    """

    name: str
    lacks: str
    tried: bool
    waiting: int
    old: int
    held: int
    where: str
    do: str


def unset(read: Unset) -> Finding:
    """What is not set up yet is no fault until something suffers.

    Data that should be there and is not, copies there that cannot be taken back, or somebody who believes
    that it works.
    """
    name, figure = f"recipient {read.name}", f"not configured: {read.lacks}"
    count = f"{read.waiting} record{'s wait' if read.waiting > 1 else ' waits'}"
    waits = f"; {count} for it, sealed" if read.waiting else "; nothing waits for it"
    suspend = f"; until then, to make nobody wait: lapse processor suspend {read.name}"
    if read.held:
        held = f"{read.held} object{'s' * (read.held > 1)}"
        return bad(name, f"{figure}; what it holds ({held}) cannot be erased", where=read.where, do=read.do)
    if read.old:
        late = f"{waits}, {read.old} of them for too long"
        return bad(name, figure + late, where=read.where, do=read.do + suspend)
    if read.tried:
        return bad(name, figure + waits, where=read.where, do=read.do)
    return to_do(name, figure + waits, where=read.where, do=read.do)


# ---- vault, outbox, expiry ---------------------------------------------------------------------------------
def server(weaknesses: list[str]) -> Finding:
    """A database server that is not ours to set up: commits must survive a power cut, dead rows must go."""
    if weaknesses:
        do = "turn it on in postgresql.conf: a power cut may lose keys under which records are sealed"
        return bad("vault server", ", ".join(weaknesses), where="the vault's server", do=do)
    return well("vault server", "set up as it must be")


def outbox(owed: int, oldest_seconds: float) -> Finding:
    """Keys are destroyed first and announced second: what waits here, recipients do not know yet."""
    if oldest_seconds > LATE_SECONDS:
        figure = f"{owed} messages owed, the oldest for {words(oldest_seconds)}"
        do = "does `role expire` stand above? it announces, and needs the broker and its rights"
        return bad("outbox", figure, where="the vault", do=do)
    return well("outbox", f"{owed} owed to the log")


def expiry(overdue: int, late_seconds: float, last_look_seconds: float | None, log: str) -> Finding:
    """Whether keys die on time: none overdue, and somebody looked at the clock just now."""
    do = f"look at `clock`, `brake` and `role expire` above, and into {log}"
    if overdue and late_seconds > LATE_SECONDS:
        figure = f"{overdue} keys overdue, the oldest by {words(late_seconds)}: expiry has stopped"
        return bad("expiry", figure, where="expire", do=do)
    if last_look_seconds is not None and last_look_seconds > LATE_SECONDS:
        figure = f"expiry last looked at the clock {words(last_look_seconds)} ago: it has stopped"
        return bad("expiry", figure, where="expire", do=do)
    return well("expiry", "no key is overdue")


# ---- clock -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Several clocks at one moment, in seconds since the epoch; None where there was nothing to read.

    `kept` is the latest time expiry ever noted; `appended` the broker's time of its newest record; `ahead` by
    how much the newest checkpoint was dated past the broker's time of appending it.
    """

    host: float
    vault: float
    kept: float | None = None
    appended: float | None = None
    ahead: float | None = None


def clock(read: Clocks) -> Finding:
    """The vault's time decides what dies, so it is held against every other clock there is."""
    offs = {"from the vault's": abs(read.vault - read.host)}
    if read.kept is not None:
        offs["behind what it said before"] = read.kept - read.host
    if read.appended is not None:
        offs["behind the broker's"] = read.appended - read.host
    if read.ahead is not None:
        offs["ahead of the broker's"] = read.ahead
    what, most = max(offs.items(), key=lambda item: item[1])
    if most > CLOCK_SECONDS:
        do = "set the host's clock by NTP; then, if a brake holds: lapse clock confirm"
        return bad("clock", f"{most:.0f} s {what}", where="this host", do=do)
    return well("clock", f"{max(0.0, most):.3f} s off at most")


def certificate(days: float, where: str) -> Finding:
    """The key endpoint's and the admin API's."""
    if days < CERTIFICATE_DAYS:
        figure = f"ends in {days:.0f} days" if days > 0 else "has ended: nobody can connect"
        do = "put a new tls.pem and tls.key there, signed by an authority recipients trust, and restart"
        return bad("certificate", figure, where=where, do=do)
    return well("certificate", f"{days:.0f} days left")


# ---- disks -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk below one or more folders of the data; bytes."""

    folders: str
    free: int
    total: int
    where: str


def disks(read: Sequence[Disk]) -> Iterator[Finding]:
    """A disk that fills stops the broker first, then the vault."""
    for disk in read:
        free = disk.free / disk.total if disk.total else 0.0
        name = "disk" if len(read) == 1 else f"disk {disk.folders}"
        figure = f"{free:.0%} free of {disk.total / 1e9:.1f} GB"
        if free < DISK_FREE:
            do = "make room, or move that folder to a larger disk while all is stopped"
            yield bad(name, figure, where=disk.where, do=do)
        else:
            yield well(name, figure)


def spool(size: int, oldest_seconds: float, most: int, most_seconds: float, where: str) -> Finding:
    """What the collector keeps for Kafka; a full or an old spool takes nothing more."""
    if not size:
        return well("spool", "empty")
    share = max(size / most, oldest_seconds / most_seconds)
    figure = (
        f"{size} bytes wait for Kafka, the oldest for {words(oldest_seconds)}: {share:.0%} of what it takes"
    )
    return bad(
        "spool", figure, where=where, do="bring Kafka back; it drains by itself. Delete nothing in there"
    )


def replicas(brokers: int, copies: Mapping[str, tuple[int, int]]) -> Iterator[Finding]:
    """`copies` by topic: replicas, and how many of them are in sync at the worst partition."""
    behind = sorted((insync - wanted, name) for name, (wanted, insync) in copies.items() if insync < wanted)
    if behind:
        name = behind[0][1]
        wanted, insync = copies[name]
        figure = f"{len(behind)} topics are behind, {name} has {insync} of {wanted} in sync"
        do = "is a broker away? with fewer in sync than min.insync.replicas nothing is taken any more"
        yield bad("replicas", figure, where=name, do=do)
    else:
        yield well("replicas", f"{brokers} broker{'s' * (brokers > 1)}, every replica in sync")
    for name in sorted(name for name in copies if name.startswith("__")):
        if brokers > 1 and copies[name][0] == 1:
            figure = f"1 replica on {brokers} brokers: when that one goes, every group stands still"
            do = "set offsets.topic.replication.factor and its like; kafka-reassign-partitions.sh moves it"
            yield bad(f"topic {name}", figure, where=name, do=do)


# ---- backlogs ----------------------------------------------------------------------------------------------
def backlogs(read: Sequence[Backlog]) -> Iterator[Finding]:
    """Kafka deletes what is old whether it was read or not."""
    for each in read:
        of = each.topic.partition(".")[2]
        name, reader = f"backlog {of}", f"the recipient ({each.group})"
        if each.topic.startswith("intake."):
            name, reader = f"intake {of}", f"the role that reads it ({each.group})"
        if each.lost:
            figure = f"{each.lost} records were deleted before they were read"
            do = f"find out why {reader} stood still; these are gone, on that topic"
            yield bad(name, figure, where=each.topic, do=do)
        elif each.old:
            left = words(each.kept * (1 - HALF_GONE))
            figure = f"{each.old} of {each.unread} unread records are older than half of {words(each.kept)}"
            yield bad(
                name, figure, where=each.topic, do=f"get {reader} going: within {left} the first are deleted"
            )
    if not any(each.lost or each.old for each in read):
        yield well("backlogs", f"{sum(each.unread for each in read)} records unread, none of them old")


def lags(groups: Mapping[str, int]) -> Iterator[Finding]:
    """How far our own roles are behind."""
    for name, behind in groups.items():
        if behind >= LAG_WARNS:
            do = f"does `role {name.rpartition('.')[2]}` stand above? else start a second worker of it"
            yield bad(f"lag {name}", f"{behind} records behind", where=name, do=do)
        elif behind:
            yield well(f"lag {name}", f"{behind} records behind")
    if not groups:
        yield well("lag", "nothing behind")


def quarantine(hour: int, before: int) -> Finding:
    """`hour` inputs in the last hour, `before` in the twenty-three before it."""
    if hour >= QUARANTINE_HOUR and hour > before:
        figure = f"{hour} inputs in the last hour, {before} in the 23 before: it grows"
        do = "lapse quarantine list names the codes; a publisher's new release is the usual cause"
        return bad("quarantine", figure, where="quarantine", do=do)
    return well("quarantine", f"{hour} inputs in the last hour")
