"""Telephone numbers: by their form, by the plans that the world's networks publish, and, where
neither is enough, by what was said before them."""

import re
from collections.abc import Iterator
from functools import lru_cache

from agentloop.harvest.redaction.finding import Finding
from agentloop.harvest.redaction.numbers import ALONE, BEFORE, BETWEEN, ID, SHORTEST, digits, runs

NUMBER = re.compile(rf"[0-9]{ALONE}(?:{BETWEEN}{{0,3}}[0-9]){{6,30}}+(?:(?!\w)|(?=x[0-9]))")
"""What may be a number to call: digits with at most three other characters between them."""
AMERICAN = re.compile(
    rf"(?:1{BETWEEN}{{0,2}})?\(?[2-9][0-9]{{2}}\)?{BETWEEN}{{0,3}}[2-9][0-9]{{2}}{BETWEEN}{{0,3}}[0-9]{{4}}(?![0-9])"
)
LONGEST = 15
"""Digits of the longest number that can be called (ITU-T E.164)."""
DIGIT = re.compile(r"[0-9]")
SPACE = re.compile(r"[ \u00a0](?=[0-9+(])")
EXTENSION = re.compile(r"\s{0,2}(?:x|ext\.?|extension)\s?[0-9]{1,6}(?!\w)", re.IGNORECASE)
DATE = re.compile(
    r"(?:1[89]|20)[0-9]{2}([-./ \u2010-\u2013])[01]?[0-9]\1[0-3]?[0-9](?![0-9])"
    r"|[0-3]?[0-9]([-./\u2010-\u2013])[0-3]?[0-9]\2(?:1[89]|20)[0-9]{2}(?![0-9])"
)
DOTTED = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9]+\.[0-9]+")
"""An address of a machine, or a number with a fraction."""

LABEL = (
    r"(?:(?<!smart)(?<!head)(?<!micro)(?<!ear)(?<!\bi)phone(?!s\b)\w*|mobile\w*|\btel(?:ephone|efon|[eé]fono)?(?![a-z])\w{0,12}"
    r"|cell(?:phone|ular)?(?![a-z])|fax\w*|msisdn|whats ?app|handy|hotline|landline|callback"
    r"|m[oó]vil|t[eé]l[eé](?:phone|fono)?\b|telefon\w*|pager|sms|contact(?:\b|_n))"
)
MORE = r"(?:[\W_]{1,3}(?:number|num|nr|no|line|is|was|at|on|to|here|it's|its)){0,3}"
VERB = r"\b(?:call|text|dial|ring|reach|message|contact|phone)(?:ed|ing)?"
WHOM = r"(?:\s+(?:me|us|him|her|them|you|back|someone|support|now))?"
MINE = (
    r"(?:\b(?:my|his|her|their|your|our)(?: new| old)? number(?: is| was)?"
    r"|\bmessages? to|\bregistered(?: number| at| with)?)"
)
AT = r"(?:\s+(?:back|at|on|under|to|via))?"
DIRECT = re.compile(
    rf"(?:{LABEL}{MORE}"
    rf"|{VERB}{WHOM}{AT}\s|{MINE})[\W_]{{0,6}}\Z",
    re.IGNORECASE,
)
"""Right before the number it is said that it is one to call: `"phone": "`, `call me at `."""
NEAR = re.compile(
    rf"{LABEL}|{VERB}|messages? to|registered|\b(?:desk|office|home|work|direct)\b", re.IGNORECASE
)
"""Somewhere before it there is talk of calling."""
HINTS = (
    *("phone", "mobil", "tel", "tél", "cell", "fax", "msisdn", "whats", "handy", "hotline", "sms"),
    *("landline", "callback", "ovil", "óvil", "pager", "contact", "call", "text", "dial", "ring"),
    *("reach", "message", "registered", "number", "desk", "office", "home", "work", "direct"),
)
"""Of each word about calling a piece."""
AFTER = re.compile(
    r"\s{0,2}\(?(?:office|fax|mobile|cell|home|work|phone|tel|desk)\b", re.IGNORECASE
)
FALSE = re.compile(r"1?555555[0-9]{4}|[0-9]{0,2}0{4,14}[0-9]{1,4}")
"""The digits of a number that stands in for another."""


def phones(text: str) -> Iterator[Finding]:
    """Numbers to call, extensions included, but for those that stand in for others already.

    Without a word about calling before it a number is one only in an international form that is
    valid, or in the North American form. Dates, addresses of machines and what is labelled as an
    order or the like are none.
    """
    for start, end in candidates(text):
        extension = EXTENSION.match(text, end)
        whole = extension.end() if extension else end
        if _to_call(text, start, end, whole):
            yield Finding(start, whole, "phone")


@lru_cache(maxsize=64)
def candidates(text: str) -> tuple[tuple[int, int], ...]:
    """Where numbers of 7 to 15 digits are that have a telephone number's form."""
    return tuple(_candidates(text))


def _candidates(text: str) -> Iterator[tuple[int, int]]:
    for place in runs(text):
        for match in NUMBER.finditer(text, *place):
            start, end = match.span()
            several = len(digits(match[0])) > LONGEST
            while start < end:
                stop = _one(text, start, end, several)
                if SHORTEST <= len(digits(text[start:stop])) <= LONGEST:
                    yield _with_sign(text, start, stop), stop
                following = DIGIT.search(text, stop, end)
                start = following.start() if following else end


def _one(text: str, start: int, end: int, several: bool) -> int:
    """Where a number ends that starts a row of digits. Of several that only spaces divide nobody
    can tell where one ends, but for American ones: each piece is looked at on its own."""
    if american := AMERICAN.match(text, start, end):
        return american.end()
    space = SPACE.search(text, start, end) if several else None
    return space.start() if space else end


def _with_sign(text: str, start: int, end: int) -> int:
    """Where a number starts whose first digit is at `start`: `+` and an opening bracket are its."""
    closed = ")" in text[start:end]
    for sign, there in (("(", closed), ("+", True), ("(", closed)):
        if there and start and text[start - 1] == sign:
            start -= 1
    return start


def _to_call(text: str, start: int, end: int, whole: int) -> bool:
    said = text[start:end]
    number = digits(said)
    if FALSE.fullmatch(number) or DATE.match(said) or DOTTED.fullmatch(said):
        return False
    before = text[max(0, start - BEFORE) : start]
    low = before.lower()
    talk = any(hint in low for hint in HINTS)  # much quicker than the expressions
    if (talk and DIRECT.search(before)) or AFTER.match(text, whole):
        return True
    abroad = said.startswith(("+", "(+"))
    grouped = len(number) < len(said.lstrip("+").removeprefix("00"))
    if not (abroad or grouped) or ID.search(before):
        return False
    if abroad or (number.startswith("00") and grouped):
        return valid(number.removeprefix("00")) or (grouped and len(number) >= 8)
    near = talk and NEAR.search(before) is not None
    if AMERICAN.fullmatch(said.lstrip("+(").replace("(", "")) and grouped:
        return "(" in said or number[0] == "1" or near or valid(f"1{number}")
    return grouped and len(number) >= 8 and near


@lru_cache(maxsize=1024)
def valid(number: str) -> bool:
    """Whether the digits of a number, its country's first, are in a range that was given out."""
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{number}"))
    except phonenumbers.NumberParseException:
        return False
