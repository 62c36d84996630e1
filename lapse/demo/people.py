"""The people of the demo: invented, repeatable by seed, each with habits that exercise one promise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

FIRST = [
    "Ada",
    "Bela",
    "Cleo",
    "Dara",
    "Edda",
    "Finn",
    "Gita",
    "Hugo",
    "Ines",
    "Jona",
    "Kaja",
    "Luis",
    "Mira",
    "Nils",
    "Olga",
    "Paul",
    "Quim",
    "Rosa",
    "Sven",
    "Tara",
    "Ugo",
    "Vera",
    "Wim",
    "Xena",
    "Yann",
    "Zoe",
]
LAST = [
    "Abel",
    "Brandt",
    "Costa",
    "Dubois",
    "Eklund",
    "Fischer",
    "Garcia",
    "Hansen",
    "Ivanov",
    "Janssen",
    "Keller",
    "Lopez",
    "Moreau",
    "Novak",
    "Olsen",
    "Petrov",
    "Rossi",
    "Silva",
    "Toth",
    "Weber",
]
COMPANIES = [
    "Northwind",
    "Contoso",
    "Fabrikam",
    "Globex",
    "Initech",
    "Umbra",
    "Vandelay",
    "Wonka",
    "Stark",
    "Acme",
]
COUNTRIES = ["DE", "FR", "IT", "ES", "NL", "SE", "PL", "US", "GB", "BR"]
PAGES = ["/", "/pricing", "/product", "/blog/retention", "/docs", "/about", "/customers", "/security"]

Habit = Literal["consents", "declines", "withdraws", "erased", "silent"]
"""consents: grants marketing and cookies. declines: states no to all. withdraws: grants, then unsubscribes.
erased: grants, then asks to be forgotten. silent: states nothing."""


CONSENTING: tuple[Habit, ...] = ("consents",) * 4
CALLED: dict[Habit, str] = {"consents": "Ada", "withdraws": "Bela", "erased": "Cleo", "declines": "Dara"}
"""First names of the people with a part of their own; all four are canaries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An invented visitor; the address lies under a domain reserved for examples (RFC 2606)."""

    name: str
    email: str
    phone: str
    company: str
    country: str
    cookie_id: str
    habit: Habit

    @property
    def called(self) -> str:
        """The first name."""
        return self.name.split()[0]


def people(count: int, seed: int) -> list[Person]:
    """The same people for the same seed; about two in three consent."""
    dice = random.Random(seed)
    habits: tuple[Habit, ...] = (*CONSENTING, "declines", "silent")
    return [_person(dice, number, dice.choice(habits)) for number in range(count)]


def canary(habit: Habit, seed: int) -> Person:
    """A person whose every value can be found again wherever it should not be."""
    mark = f"{random.Random(f'{seed}/{habit}').getrandbits(48):012x}"
    return Person(
        name=f"{CALLED[habit]} Kanari{mark}",
        email=f"canary.{mark}@example.com",
        phone=f"+4930{int(mark, 16) % 10**10:010d}",
        company=f"Kanari{mark} GmbH",
        country="DE",
        cookie_id=f"ck-{mark}",
        habit=habit,
    )


def _person(dice: random.Random, number: int, habit: Habit) -> Person:
    first, last = dice.choice(FIRST), dice.choice(LAST)
    return Person(
        name=f"{first} {last}",
        email=f"{first}.{last}.{number}@example.org".lower(),
        phone=f"+49151{dice.randrange(10**8):08d}",
        company=dice.choice(COMPANIES),
        country=dice.choice(COUNTRIES),
        cookie_id=f"ck-{dice.getrandbits(64):016x}",
        habit=habit,
    )
