"""Made-up values that fill the slots of sentences and tool results: ids, days, names, amounts.

Names of places, people and companies are half invented on the spot, so that a model can only get
them right by copying. Nothing here occurs in the demo (`agentloop.ui.demo`); a test holds that.
"""

import random
import re
import string
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

Value = str | int | float
Pool = Callable[[random.Random], Value]
"""Draws one value."""

DOMAINS = Path(__file__).with_name("domains")

CITIES = (
    "Paris London Berlin Madrid Rome Oslo Lisbon Vienna Prague Dublin Athens Warsaw Tokyo Seoul "
    "Lima Quito Cairo Delhi Boston Denver Austin Seattle Chicago Toronto Sydney Perth Munich Milan "
    "Zurich Geneva Nice York Bonn Kiel Nantes Parma Siena Faro Cadiz Vigo Odense Narvik Pisa Bath"
).split()
PEOPLE = (
    "Anna Ben Carla David Emma Felix Grace Hugo Irene Jack Karen Leo Maria Nora Oscar Paula Quinn "
    "Rosa Sam Tina Uma Victor Wendy Xavier Yara Zoe Ada Boris Chloe Dario Elif Farid Greta Hana"
).split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday today tomorrow".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
THINGS = (
    "lamp chair book pen bike camera phone shirt shoes coat milk bread rice soap drill ladder "
    "printer screen keyboard guitar tent boat sofa clock scarf wallet umbrella glove hat ring"
).split()
TOPICS = (
    "the budget|new tyres|opening hours|passwords|the garden party|battery life|winter sleep|taxes|"
    "the roof|old maps|login problems|the summer plan|bees|deep sea fish|contracts|the choir|"
    "music theory|loud neighbours|the audit|a birthday|dinosaurs|solar panels|the yearly meeting"
).split("|")
COLOURS = "red green blue white black grey brown yellow pink".split()
LANGUAGES = "French German Spanish Polish Greek Turkish Danish Finnish Latin".split()
BRANDS = "North Star|Blue Gate|Old Mill|Red Fox|Silver Lake|Green Hill|High Tower".split("|")

_STARTS = "b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pl st tr".split()
_SYLLABLES = [start + vowel for start in _STARTS for vowel in "aeiou"]
_ENDS = ("", "", "n", "r", "x", "l", "t", "s", "nd", "rk")


@cache
def words() -> tuple[str, ...]:
    """The words of the trades' own texts, in their order of the alphabet."""
    texts = (path.read_text("utf-8") for path in sorted(DOMAINS.glob("*.txt")))
    return tuple(sorted(set(re.findall(r"[a-z]{3,10}", " ".join(texts)))))


def word(draw: random.Random, syllables: int = 0) -> str:
    """A word for something that has no name yet; of two or three syllables when `syllables` is 0.

    One in two is made of syllables. The others are a word of the trades in a place where it means
    nothing, or the beginning of one and the end of another: so that a model learns to copy every
    token there is, and not only those of invented words.
    """
    chance = draw.random()
    if chance < 0.5:
        n = syllables or draw.choice((2, 2, 3))
        return "".join(draw.choice(_SYLLABLES) for _ in range(n)) + draw.choice(_ENDS)
    first, second = draw.choice(words()), draw.choice(words())
    if chance < 0.7:
        return first
    return first[: draw.randint(1, len(first))] + second[draw.randint(0, len(second) - 2) :]


def name(draw: random.Random, known: list[str]) -> str:
    """A capitalised name: one of `known`, or as often an invented one."""
    return draw.choice(known) if draw.random() < 0.5 else word(draw).capitalize()


def identifier(draw: random.Random) -> str:
    """An id such as `4821`, `E-319`, `KL-07315` or `B52`."""
    number = "".join(draw.choice(string.digits) for _ in range(draw.choice((3, 4, 4, 5, 5, 6))))
    chance = draw.random()
    if chance < 0.5:
        return number
    if chance < 0.85:
        return draw.choice(string.ascii_uppercase) + draw.choice(("-", "-", "")) + number
    return "".join(draw.choices(string.ascii_uppercase, k=2)) + "-" + number


def _day(draw: random.Random) -> str:
    chance = draw.random()
    if chance < 0.6:
        return draw.choice(DAYS)
    if chance < 0.85:
        return f"{draw.choice(MONTHS)} {draw.randint(1, 28)}"
    return f"2027-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"


def _money(draw: random.Random) -> float | int:
    return round(draw.uniform(2, 400), 2) if draw.random() < 0.2 else draw.randint(2, 999)


def _time(draw: random.Random) -> str:
    if draw.random() < 0.5:
        return f"{draw.randint(1, 12)}{draw.choice(('am', 'pm'))}"
    return f"{draw.randint(0, 23)}:{draw.choice(('00', '15', '30', '45'))}"


def _thing(draw: random.Random) -> str:
    return draw.choice(THINGS) if draw.random() < 0.5 else word(draw)


def _topic(draw: random.Random) -> str:
    if draw.random() < 0.6:
        return draw.choice(TOPICS)
    return " ".join(word(draw) for _ in range(draw.choice((1, 2))))


POOLS: Mapping[str, Pool] = {
    "id": identifier,
    "city": lambda draw: name(draw, CITIES),
    "city2": lambda draw: name(draw, CITIES),
    "day": _day,
    "month": lambda draw: draw.choice(MONTHS),
    "year": lambda draw: draw.randint(1960, 2026),
    "time": _time,
    "count": lambda draw: draw.randint(2, 60),
    "money": _money,
    "person": lambda draw: name(draw, PEOPLE),
    "thing": _thing,
    "topic": _topic,
    "colour": lambda draw: draw.choice(COLOURS),
    "language": lambda draw: draw.choice(LANGUAGES),
    "email": lambda draw: f"{word(draw, 2)}@{word(draw, 2)}.{draw.choice(('com', 'org', 'net'))}",
    "brand": lambda draw: draw.choice(BRANDS) if draw.random() < 0.3 else word(draw).capitalize(),
}
"""Kind of value -> how to draw one. The kinds that `domains/*.txt` may name."""

JSON_TYPES: Mapping[str, str] = {"count": "integer", "year": "integer", "money": "number"}
"""Kinds that are not strings -> their JSON Schema type."""
