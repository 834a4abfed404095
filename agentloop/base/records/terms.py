"""Terms: whose models wrote what, and whether another model may be taught by it.

Some providers of closed models restrict in their terms what may be trained on what their models
said. Who may do what depends on a contract, on the product and on the day, so this is our reading
and no advice: check yours. It is cautious where a name is known to be a closed model's, and says
nothing of names that it does not know, which are mostly open weights and models of your own.
"""

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

PERSON = "person:"
"""How a producer begins that is no model but somebody who wrote a correction."""


class Family(NamedTuple):
    """The closed models of one provider, which may learn from each other."""

    provider: str
    names: re.Pattern[str]
    """How their names begin, in lower case."""


CLOSED: Sequence[Family] = (
    Family(
        "OpenAI",
        re.compile(r"(chat)?gpt-(?!oss|2\b|j\b|neo)|o\d(-|$)|(text-)?davinci-|babbage-|codex-"),
    ),
    Family("Anthropic", re.compile(r"claude-")),
    Family("Google", re.compile(r"gemini-")),
)
"""Our reading, check yours. What is open weights of the same provider (gpt-oss, Gemma) is not
here: it has a licence, and yours is the version that you have."""

_SNAPSHOT = re.compile(r"-\d{4}-?\d{2}-?\d{2}")
_VENDOR = re.compile(r"([a-z]{2,4}\.)?(openai|anthropic|google)\.")


def family(model: str) -> Family | None:
    """The closed family that a model is of, whatever a router wrote before its name; of a tuned
    model that of its base. None when there is none, or nobody knows.

    >>> [f.provider if (f := family(name)) else None for name in (
    ...     "openai/gpt-4.1-mini-2025-04-14", "us.anthropic.claude-sonnet-4", "gpt-oss-20b")]
    ['OpenAI', 'Anthropic', None]
    """
    bare = model.lower()
    if bare.startswith("ft:"):  # `ft:BASE:organisation:suffix:id`
        bare = bare.split(":")[1]
    bare = bare.rsplit("/", 1)[-1]
    if vendor := _VENDOR.match(bare):
        bare = bare[vendor.end() :]
    return next((one for one in CLOSED if one.names.match(bare)), None)


def objection(producer: str, learner: str) -> str | None:
    """Why a model should not learn from what a producer wrote without a look at the terms, in one
    sentence; None when nothing that we know speaks against it.

    >>> objection("gpt-4.1", "qwen3-8b")
    "'gpt-4.1' is a closed model of OpenAI, and 'qwen3-8b' is none"
    >>> objection("gpt-4.1", "gpt-4.1-mini") is objection("person:ann", "qwen3-8b") is None
    True
    """
    if producer.startswith(PERSON):
        return None
    wrote = family(producer)
    if wrote is None or family(learner) == wrote:
        return None
    return f"{producer!r} is a closed model of {wrote.provider}, and {learner!r} is none"


def is_named(producer: str, names: Collection[str]) -> bool:
    """Whether one of `names` is that producer: its name, its name but for the date of a snapshot,
    or a pattern such as `gpt-*`.

    >>> is_named("gpt-4.1-2025-04-14", ["gpt-4.1"]), is_named("gpt-4.1-mini", ["gpt-4.1"])
    (True, False)
    """
    return any(
        producer == name
        or fnmatchcase(producer, name)
        or (producer.startswith(name) and _SNAPSHOT.fullmatch(producer[len(name) :]) is not None)
        for name in names
    )
