"""Everything the spectator sees at one moment, as values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lapse.visible import visible


@dataclass(slots=True, kw_only=True)
class BucketLine:
    """One bucket: a key, the records that hang on it, and how long it still lives (seconds)."""

    purpose: str
    records: int
    seconds_left: float
    lifetime: float
    state: str


@dataclass(slots=True, kw_only=True)
class ShelfLine:
    """One recipient: deliveries it got, those it can still read something of, and lapses it was told."""

    name: str
    received: int
    held: int
    lapses: int


@dataclass(slots=True, kw_only=True)
class Reader:
    """One recipient and the followed person: fields it could read once, and those it can read now."""

    name: str
    could: tuple[str, ...]
    can: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Something that happened, and when (seconds since the start)."""

    at: float
    text: str


@dataclass(slots=True, kw_only=True)
class Scene:
    """Everything the view shows, at one moment."""

    stage: str = "starting"
    elapsed: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    purposes: dict[str, list[BucketLine]] = field(default_factory=dict)
    """Per purpose its buckets, earliest due first, the destroyed among them."""
    followed: str = "somebody"
    readers: list[Reader] = field(default_factory=list)
    shelves: list[ShelfLine] = field(default_factory=list)
    news: list[News] = field(default_factory=list)

    @property
    def used(self) -> dict[str, list[BucketLine]]:
        """The purposes that have, or had, a bucket."""
        return {name: lines for name, lines in self.purposes.items() if lines}

    @property
    def living(self) -> list[BucketLine]:
        """The buckets whose key still lives, the next to die first."""
        every = [line for lines in self.purposes.values() for line in lines if line.state != "destroyed"]
        return sorted(every, key=lambda line: line.seconds_left)

    @property
    def destroyed(self) -> int:
        """How many keys are gone."""
        return sum(line.state == "destroyed" for lines in self.purposes.values() for line in lines)


def cleaned(scene: Scene) -> Scene:
    """The scene with every name and word fit for a terminal."""
    return replace(
        scene,
        stage=visible(scene.stage),
        purposes={
            visible(name): [replace(line, purpose=visible(line.purpose)) for line in lines]
            for name, lines in scene.purposes.items()
        },
        followed=visible(scene.followed),
        readers=[
            Reader(
                name=visible(each.name),
                could=tuple(visible(name) for name in each.could),
                can=tuple(visible(name) for name in each.can),
            )
            for each in scene.readers
        ],
        shelves=[replace(each, name=visible(each.name)) for each in scene.shelves],
        news=[News(at=each.at, text=visible(each.text)) for each in scene.news],
    )
