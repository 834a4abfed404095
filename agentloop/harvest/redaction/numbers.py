"""Cards, bank accounts and social security numbers: what their own check digits confirm."""

import re
from collections.abc import Iterator
from functools import lru_cache

from agentloop.harvest.redaction.checksums import given_out, iban, luhn
from agentloop.harvest.redaction.finding import Finding

ALONE = r"(?<!\w[0-9])(?<!\w[-+/.][0-9])"
"""Behind the first digit of a number: it does not go on from a word, a path, an id or base64."""

CARD = re.compile(
    rf"[0-9]{ALONE}(?:[0-9]{{11,18}}+"
    r"|[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?![\w]|[-.][0-9])"
)
ISSUED = re.compile(
    r"4(?:[0-9]{15}|[0-9]{12}|[0-9]{18})|(?:5[1-5]|2(?:2[2-9]|[3-6]|7[01]|720)|6(?:011|4[4-9]|5))[0-9]+"
    r"|3[47][0-9]{13}|3(?:0[0-5]|6|8|9)[0-9]+|35(?:2[89]|[3-8])[0-9]+|62[0-9]+"
)
"""Numbers that a network gives out: Visa, Mastercard, Discover, American Express, Diners, JCB,
UnionPay."""
CARD_WORDS = re.compile(
    r"card|credit|debit|visa|amex|american express|discover|diners|maestro|jcb|payment|\bcc\b"
    r"|\bpan\b|karte|carte|tarjeta",
    re.IGNORECASE,
)
SSN = re.compile(rf"[0-9]{ALONE}[0-9]{{2}}([- .]?)[0-9]{{2}}\1[0-9]{{4}}(?![\w]|[-.][0-9])")
SSN_WORDS = re.compile(r"ssn|social.?sec|tax.?(?:payer|id)", re.IGNORECASE)
ID = re.compile(
    r"(?:(?<![^\W_])|(?<=[a-z])(?=[A-Z]))(?:order|invoice|ticket|case|ref|reference|tracking|booking"
    r"|reservation|confirmation|transaction|serial|policy|claim|sku|isbn|ean|upc|zip|postal|shipment"
    r"|parcel|item|product|batch|trace|span|request|session|version|build|timestamp|time|date|amount"
    r"|total|price|customer|member|user|employee|id)s?(?:[ _-]?(?:ids?|no|nr|num|number|code|key))?"
    r"[\W_]{0,5}(?:is|was)?[\W_]{0,5}$",
    re.IGNORECASE,
)
"""A label right before a number that says it is another thing: `order no. `, `"trace_id": "`."""

SHORTEST = 7
"""Digits of the shortest number that is somebody's."""
BETWEEN = r"[ \u00a0.\-\u2010-\u2013()/]"
"""What stands between the digits of a number."""
RUN = re.compile(rf"[0-9](?:{BETWEEN}{{0,3}}[0-9]){{6,}}+")
OTHER = re.compile(r"[^0-9]+")
IBAN = re.compile(
    r"[A-Z](?<![\w][A-Z])(?<!\w[-+/.][A-Z])[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]){11,30}+(?!\w)"
)

BEFORE = 48
"""How many characters before a number tell what it is."""


@lru_cache(maxsize=64)
def runs(text: str) -> tuple[tuple[int, int], ...]:
    """Where at least seven digits stand close together: long numbers are nowhere else, and looking
    for their forms there alone is several times as quick. Each reaches two characters further, for
    what follows a number may tell that it is none."""
    return tuple((match.start(), match.end() + 2) for match in RUN.finditer(text))


def digits(text: str) -> str:
    """The digits of a text.

    >>> digits("(07) 5331-0577")
    '0753310577'
    """
    return text if text.isascii() and text.isdigit() else OTHER.sub("", text)


def cards(text: str) -> Iterator[Finding]:
    """Payment cards: a number that a network gives out and whose check digit is right.

    Thirteen, fourteen or nineteen digits in a row are many things, so they want a word about cards
    before them, and so do numbers of smaller networks; and a number that is labelled as an order or
    the like is none.
    """
    for match in _each(CARD, text):
        number = digits(match[0])
        grouped = len(number) < len(match[0])
        if not luhn(number):
            continue
        before = text[max(0, match.start() - BEFORE) : match.start()]
        told = CARD_WORDS.search(before) is not None
        if not ISSUED.fullmatch(number):
            if told and not ID.search(before):
                yield Finding(*match.span(), "card")
            continue
        plain = (len(number) in (15, 16) and number[0] in "2345") or number[:2] in (
            "60",
            "64",
            "65",
        )
        if told or ((grouped or plain) and not ID.search(before)):
            yield Finding(*match.span(), "card")


def ibans(text: str) -> Iterator[Finding]:
    """International bank account numbers whose check digits, country and length are right."""
    at = 0
    while match := IBAN.search(text, at):
        start, end = match.span()
        at = end
        while end - start >= 15:
            if iban(text[start:end]):
                yield Finding(start, end, "iban")
                at = end
                break
            shorter = max(text.rfind(" ", start, end), text.rfind("-", start, end))
            end = max(shorter, start)  # what follows may be a word in capitals
        at = max(at, match.start() + 4)


def ssns(text: str) -> Iterator[Finding]:
    """Social security numbers of the United States that may have been given out.

    With dashes they are taken as such unless labelled as another thing; otherwise they want a word
    about social security before them.
    """
    for match in _each(SSN, text):
        if not given_out(digits(match[0])):
            continue
        before = text[max(0, match.start() - BEFORE) : match.start()]
        if SSN_WORDS.search(before) or (match[1] == "-" and not ID.search(before)):
            yield Finding(*match.span(), "ssn")


def _each(form: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    for start, end in runs(text):
        yield from form.finditer(text, start, end)
