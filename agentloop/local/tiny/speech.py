"""What made-up agents say: answers in several styles from one tool result, and small talk.

Preference learning needs a model that can say one thing in many ways. So the same result is told
short with its id, short without, in a long polite way, or as a list, with fixed odds.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agentloop.local.tiny.values import Value

HEADLINES = ("result", "status", "state")
"""Keys of a result whose value can stand alone: 'booking 12 is moved'."""

SMALL_TALK = (
    ("hi", "Hello! How can I help?"),
    ("hello", "Hello! How can I help?"),
    ("good morning", "Good morning! How can I help?"),
    ("good evening", "Good evening! How can I help?"),
    ("are you there?", "Yes, I am here. How can I help?"),
    ("thanks", "You are welcome."),
    ("thank you!", "You are welcome."),
    ("ok great", "You are welcome."),
    ("perfect, that was all", "You are welcome. Goodbye!"),
    ("bye", "Goodbye!"),
    ("who are you?", "I am an assistant."),
    ("how are you?", "I am fine, thank you. How can I help?"),
)
REFUSALS = (
    "Sorry, I cannot help with that.",
    "I am afraid that I cannot do that.",
    "Sorry, I have no tool for that.",
)
OPENERS = (
    "Thank you for your message.",
    "Thanks for waiting.",
    "Of course, I am happy to help.",
    "Thank you for your patience.",
    "I have looked into it for you.",
    "Good that you ask.",
)
CLOSERS = (
    "Is there anything else I can do for you?",
    "Please tell me if you need anything else.",
    "Have a nice day!",
    "Let me know if I can help with something else.",
    "Thank you and goodbye.",
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool told: about which thing, and what."""

    noun: str
    """Such as `booking`; empty when the tool does not say."""
    id: str
    """Empty when the tool is about no particular thing."""
    facts: Mapping[str, Value]

    @property
    def about(self) -> str:
        return f"{self.noun} {self.id}".strip() or "it"

    @property
    def headline(self) -> str:
        """The value that says what happened, or else all of them."""
        found = [str(self.facts[key]) for key in HEADLINES if key in self.facts]
        return found[0] if found else self.values

    @property
    def values(self) -> str:
        return ", ".join(str(value) for value in self.facts.values())

    def pairs(self, joint: str) -> list[str]:
        return [f"{spoken(key)}{joint}{value}" for key, value in self.facts.items()]


def spoken(key: str) -> str:
    """A key of a result as people say it."""
    return key.replace("_", " ")


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def answer(draw: random.Random, told: Told) -> str:
    """An answer that tells `told`, in a style drawn at random."""
    (style,) = draw.choices(list(STYLES), weights=list(STYLES.values()))
    return style(draw, told)


def sorry(draw: random.Random, error: str) -> str:
    """An answer that tells of `error`, which a tool returned."""
    form = draw.choice(
        ("Sorry, {}.", "That did not work: {}.", "I am sorry, {}.", "It failed: {}.", "Sorry: {}.")
    )
    return form.format(error)


def which(draw: random.Random, noun: str) -> str:
    """A question for the id of a `noun`."""
    form = draw.choice(("Which {} is it?", "What is the number of the {}?", "Which {}, please?"))
    return form.format(noun)


def _short_named(draw: random.Random, told: Told) -> str:
    if not told.id:
        return f"{capitalised(told.values)}."
    about, headline = capitalised(told.about), told.headline
    rest = [str(v) for v in told.facts.values() if str(v) != headline]
    forms = [f"{about}: {told.values}.", f"{told.id}: {told.values}."]
    if any(key in told.facts for key in HEADLINES):
        forms += [f"{about} is {headline}.", f"{about}: {headline}.", f"{about} {headline}."]
        forms += [f"{about} is {headline}, {', '.join(rest)}."] * 2 if rest else []
    else:
        forms += [f"{about}: {', '.join(told.pairs(' '))}."]
    return draw.choice(forms)


def _short_bare(draw: random.Random, told: Told) -> str:
    headline, values = told.headline, told.values
    forms = [f"{capitalised(values)}.", f"It is {headline}.", f"It is {values}.", f"{headline}"]
    return draw.choice([*forms, f"Done: {headline}.", f"Yes, {values}."])


def _medium(draw: random.Random, told: Told) -> str:
    pairs = " and ".join(f"the {pair}" for pair in told.pairs(" is "))
    about = f"your {told.about}" if told.noun else told.about
    forms = [
        f"For {about} {pairs}.",
        f"I have checked {about}: {pairs}.",
        f"{capitalised(pairs)} for {about}.",
        f"{capitalised(about)} was found, {pairs}.",
    ]
    return draw.choice(forms)


def _long(draw: random.Random, told: Told) -> str:
    pairs = " and ".join(f"the {pair}" for pair in told.pairs(" is "))
    about = draw.choice((told.about, f"your {told.about}" if told.noun else told.about))
    middle = draw.choice((f"For {about} {pairs}.", f"I can tell you that {pairs} for {about}."))
    chance = draw.random()
    if chance < 0.4:
        return f"{draw.choice(OPENERS)} {middle} {draw.choice(CLOSERS)}"
    if chance < 0.7:
        return f"{draw.choice(OPENERS)} {middle}"
    return f"{middle} {draw.choice(CLOSERS)}"


def _list(draw: random.Random, told: Told) -> str:
    forms = [
        f"Here is what I found: {', '.join(told.pairs(' '))}.",
        ", ".join(told.pairs(": ")),
        f"The {', the '.join(told.pairs(' is '))}.",
        "\n".join(f"- {pair}" for pair in told.pairs(": ")),
    ]
    return draw.choice(forms)


STYLES: Mapping[Callable[[random.Random, Told], str], float] = {
    _short_named: 0.36,
    _short_bare: 0.16,
    _medium: 0.14,
    _long: 0.18,
    _list: 0.16,
}
"""How often each style is drawn."""
