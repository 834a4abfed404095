"""Our own detector: what has a form of its own is found by it, and confirmed where that can be."""

from collections.abc import Iterator, Sequence

from agentloop.harvest.redaction.addresses import emails, ips
from agentloop.harvest.redaction.finding import KINDS, Finding, apart
from agentloop.harvest.redaction.numbers import cards, ibans, runs, ssns
from agentloop.harvest.redaction.phones import phones
from agentloop.harvest.redaction.secrets import secrets

VERSION = "1"
"""Changes whenever some text gives other findings than before."""


class Patterns:
    """E-mail addresses, telephone numbers, cards, bank accounts, social security numbers, addresses
    of machines, keys and tokens. Names and places have no form of their own: see `Presidio`."""

    name = "agentloop"
    version = VERSION

    def find(self, text: str) -> Sequence[Finding]:
        """What is in `text`, in order, without overlaps."""
        return apart(_all(text))


def kinds(text: str) -> list[str]:
    """The kinds of personal data and secrets in a text, each once, in the order of `KINDS`.

    >>> kinds("write to ann@work.org, or call 020 7183 8750")
    ['email', 'phone']
    """
    there = {finding.kind for finding in Patterns().find(text)}
    return [kind for kind in KINDS if kind in there]


def _all(text: str) -> Iterator[Finding]:
    if len(text) < 6 or text.startswith("data:"):
        return
    yield from secrets(text)
    yield from ibans(text)
    numeric = runs(text)
    if numeric:
        yield from cards(text)
    if "@" in text:
        yield from emails(text)
    yield from ips(text)
    if numeric:
        yield from ssns(text)
        yield from phones(text)
