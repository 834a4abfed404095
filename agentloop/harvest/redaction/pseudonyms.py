"""What stands in for what was found: of the same shape, the same for the same value within a row,
and nobody's."""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address

from agentloop.harvest.redaction.addresses import FALSE_IPV6
from agentloop.harvest.redaction.checksums import iban, luhn
from agentloop.harvest.redaction.numbers import SHORTEST, digits
from agentloop.harvest.redaction.phones import EXTENSION, candidates

SHORTEST_JOIN = 8
"""Digits in which two telephone numbers agree to the end, at least, when one of them is the other
with a country's code before it."""
SQUEEZED = str.maketrans("", "", " \u00a0().-")
NAMED = re.compile(r"[A-Z][a-z]+[0-9]+")
"""The form of what stands in for a name."""


class Pseudonyms:
    """The pseudonyms of one row. Those that the row holds already are given to nobody."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._squeezed: str | None = None
        self._numbers: dict[tuple[str, str], int] = {}
        self._next: dict[str, int] = {}
        self.values: dict[str, list[str]] = {}
        """Kind -> the values that were replaced, as they were first written."""

    def of(self, kind: str, value: str) -> str:
        """What stands in for `value`: in its own form, whatever form it had before."""
        key = self._key(kind, value)
        number = self._numbers.get((kind, key))
        form = FORMS.get(kind, _name(kind))
        if number is not None and (false := form(value, number)) is not None:
            return false
        while True:
            number = self._next[kind] = self._next.get(kind, 0) + 1
            false = form(value, number)
            if false is not None and not self._taken(kind, false):
                self._numbers[kind, key] = number
                self.values.setdefault(kind, []).append(value)
                return false

    def known(self, text: str) -> list[tuple[int, int, str]]:
        """Where values that were replaced before stand in `text`, whatever is said around them:
        `(start, end, kind)`, in any order."""
        places = []
        for kind, values in self.values.items():
            if kind == "phone":
                places += [
                    (start, end, kind)
                    for start, end in candidates(text)
                    if (kind, self._key(kind, text[start:end])) in self._numbers
                ]
            for value in values:
                places += [(*place, kind) for place in _places(value, text)]
                if kind in ("card", "iban", "ssn") and (plain := _compact(value)) != value:
                    places += [(*place, kind) for place in _places(plain, text)]
        return places

    def _key(self, kind: str, value: str) -> str:
        """What two ways to write one value have in common."""
        if kind != "phone":
            return KEYS.get(kind, str)(value)
        number = _main(value).lstrip("0")
        for known_kind, known in self._numbers:
            short, long = sorted((number, known), key=len)
            same_end = len(short) >= SHORTEST_JOIN and long.endswith(short)
            if known_kind == kind and same_end and len(long) - len(short) <= 3:
                return known
        return number

    def _taken(self, kind: str, false: str) -> bool:
        if self._squeezed is None:
            self._squeezed = _squeezed("\n".join(self._texts))
        told = _main(false)[-SHORTEST:] if kind == "phone" else _squeezed(false)
        return told in self._squeezed


def _places(value: str, text: str) -> list[tuple[int, int]]:
    places, at = [], text.find(value)
    while at >= 0:
        end = at + len(value)
        if not _joined(text, at) and not _joined(text, end):
            places.append((at, end))
        at = text.find(value, end)
    return places


def _joined(text: str, at: int) -> bool:
    """Whether a word goes on at this place."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _squeezed(text: str) -> str:
    return text.lower().translate(SQUEEZED)


def _compact(value: str) -> str:
    return re.sub(r"[ .\-]", "", value)


def _main(phone: str) -> str:
    """The digits of a telephone number without its extension."""
    extension = EXTENSION.search(phone)
    return digits(phone[: extension.start()] if extension else phone)


def _plain_key(value: str) -> str:
    return re.sub(r"\\[nrt]|\s", "", value)


KEYS: dict[str, Callable[[str], str]] = {
    "card": digits,
    "email": str.lower,
    "iban": lambda value: _compact(value).upper(),
    "ip": lambda value: (IPv6Address(value) if ":" in value else IPv4Address(value)).compressed,
    "secret": _plain_key,
    "ssn": digits,
}

# ------------------------------------------------------------- one form for each kind
#
# A form is given a value and a number, from 1, and gives what stands in for it, or None when that
# number would make something that might be somebody's.


def _email(_: str, number: int) -> str:
    return f"person{number}@example.com"


def _phone(value: str, number: int) -> str:
    """In North America the numbers 555-01xx in the area 555, which is none; elsewhere zeros, with
    which no number begins that can be called."""
    extension = EXTENSION.search(value)
    end = extension.start() if extension else len(value)
    main = digits(value[:end])
    short = main.removeprefix("1") if len(main) == 11 else main
    if len(short) == 10 and short[0] in "23456789" and short[3] in "23456789":
        false = main[: len(main) - 10] + f"555555{100 + number:04}"
    else:
        kept = 2 if value.startswith("+") else int(main[0] != "0")
        false = main[:kept] + f"{number:0{len(main) - kept}}"
    return _into(value[:end], false) + re.sub("[0-9]", "0", value[end:])


def _card(value: str, number: int) -> str | None:
    """The network's first digit, zeros, and a wrong check digit."""
    there = digits(value)
    false = there[0] + f"{number:0{len(there) - 1}}"
    return None if luhn(false) else _into(value, false)


def _iban(value: str, number: int) -> str | None:
    """The country, and check digits that none has."""
    plain = _compact(value)
    shape = "".join("0" if "0" <= c <= "9" else "X" for c in plain[4:])
    tail = str(number)
    false = f"{plain[:2]}00{shape[: len(shape) - len(tail)]}{tail}"
    return None if iban(false) else _into(value, false)


def _ssn(value: str, number: int) -> str:
    """The area 900 and the group 00: neither is given out."""
    return _into(value, f"90000{number:04}")


def _ip(value: str, number: int) -> str:
    """The networks for documentation; when those of version 4 are used up, the one that is none."""
    if ":" in value:
        return IPv6Address(FALSE_IPV6 + number).compressed
    if number < 255:
        return f"192.0.2.{number}"
    return IPv4Address(number).compressed


def _secret(value: str, number: int) -> str:
    """The issuer's prefix and `x` for what follows."""
    prefix = PREFIX.match(value)
    start = prefix.end() if prefix and 3 * prefix.end() <= len(value) else 0
    masked = re.sub(r"(\\[nrt]|[\s._-])|.", lambda m: m[1] or "x", value[start:], flags=re.DOTALL)
    false = value[:start] + masked
    if 2 * (false.count("x") - len(str(number))) < len(value):
        false = "x" * len(value)
    at = max(false.rfind("x") + 1 - len(str(number)), 0)
    return false[:at] + str(number) + false[at + len(str(number)) :]


PREFIX = re.compile(r"(?:[A-Za-z]{2,6}[0-9]{0,2}[_-]){1,3}|AKIA|ASIA|AIza|SG\.|eyJ|ya29\.|SK|dapi")


def _into(shape: str, characters: str) -> str:
    """`shape` with its letters and digits replaced, one by one.

    >>> _into("(07) 5331-0577", "0000000001")
    '(00) 0000-0001'
    """
    given = iter(characters)
    return "".join(next(given, "") if c.isascii() and c.isalnum() else c for c in shape)


def _name(kind: str) -> Callable[[str, int], str]:
    """`Person1`, `Place2`: for what has no form that could be kept."""
    return lambda _, number: f"{kind.title().replace('_', '')}{number}"


FORMS: dict[str, Callable[[str, int], str | None]] = {
    "card": _card,
    "email": _email,
    "iban": _iban,
    "ip": _ip,
    "phone": _phone,
    "secret": _secret,
    "ssn": _ssn,
}
