"""What a number says about itself: check digits of cards and bank accounts, and which social
security numbers there can be.

Written out here: python-stdnum is under the LGPL, and so is what schwifty needs.
"""

import re
from functools import cache, lru_cache

DOUBLED = str.maketrans("0123456789", "0246813579")
"""A digit -> the digits of twice of it, summed: 7 -> 14 -> 1 + 4 = 5."""


def luhn(number: str) -> bool:
    """Whether the last digit of a number of digits confirms the others.

    From the right, every second digit is doubled; the sum of all digits must be a multiple of ten.

    >>> luhn("4111111111111111"), luhn("378282246310005"), luhn("4111111111111112")
    (True, True, False)

    Source: ISO/IEC 7812-1, annex B (H. P. Luhn, US patent 2,950,048, 1960). The examples are the
    numbers that card networks publish for tests.
    """
    total = sum(map(int, number[::-2])) + sum(map(int, number[-2::-2].translate(DOUBLED)))
    return bool(number) and total % 10 == 0


ACCOUNTS = {
    entry[:2]: entry[2:]
    for entry in """
    AD8n12c AE19n AL8n16c AT16n AZ4a20c BA16n BE12n BG4a6n8c BH4a14c BI23n BR23n1a1c BY4c4n16c
    CH5n12c CR18n CY8n16c CZ20n DE18n DJ23n DK14n DO4c20n EE16n EG25n ES20n FI14n FK2a12n FO14n
    FR10n11c2n GB4a14n GE2a16n GI4a15c GL14n GR7n16c GT24c HN4a20n HR17n HU24n IE4a14n IL19n
    IQ4a15n IS22n IT1a10n12c JO4a4n18c KW4a22c KZ3n13c LB4n20c LC4a24c LI5n12c LT16n LU3n13c
    LV4a13c LY21n MC10n11c2n MD20c ME18n MK3n10c2n MN16n MR23n MT4a5n18c MU4a19n3a NI4a20n NL4a10n
    NO11n OM3n16c PK4a16c PL24n PS4a21c PT21n QA4a21c RO4a16c RS18n RU14n15c SA2n18c SC4a20n3a
    SD14n SE20n SI15n SK20n SM1a10n12c SO19n ST21n SV4a20n TL19n TN20n TR6n16c UA6n19c VA18n
    VG4a16n XK16n YE4a4n18c
    """.split()
}
"""Country -> what follows its code and the check digits: so many digits (`n`), letters (`a`) or
either (`c`), in order. Source: SWIFT, IBAN Registry (ISO 13616), release 101."""
CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}
SEPARATORS = str.maketrans("", "", " -")
VALUES = str.maketrans({chr(ord("A") + n): str(10 + n) for n in range(26)})


def iban(number: str) -> bool:
    """Whether this is an international bank account number that may exist; blanks and dashes in it
    do not count.

    The country's code and the check digits are moved to the end, letters count 10 to 35, and the
    whole, read as one number, leaves 1 when it is divided by 97.

    >>> iban("GB82 WEST 1234 5698 7654 32"), iban("DE89370400440532013000")
    (True, True)
    >>> iban("GB82 WEST 1234 5698 7654 33"), iban("DE8937040044053201300")
    (False, False)

    Source: ISO 13616-1 and ISO/IEC 7064, MOD 97-10. The examples are the usual ones of the United
    Kingdom and, in SWIFT's registry, of Germany.
    """
    plain = number.translate(SEPARATORS).upper()
    account = _account(plain[:2])
    if account is None or not account.fullmatch(plain, 2):
        return False
    return int((plain[4:] + plain[:4]).translate(VALUES)) % 97 == 1


@cache
def _account(country: str) -> re.Pattern[str] | None:
    structure = ACCOUNTS.get(country)
    if structure is None:
        return None
    parts = re.findall(r"([0-9]+)([nac])", structure)
    return re.compile("[0-9]{2}" + "".join(f"{CLASSES[kind]}{{{n}}}" for n, kind in parts))


PRINTED = frozenset({"078051120", "219099999", "457555462"})
"""Numbers of a wallet's specimen card, a pamphlet and an advertisement: since then, nobody's."""


@lru_cache(maxsize=1024)
def given_out(ssn: str) -> bool:
    """Whether nine digits may be a social security number of the United States.

    >>> given_out("536904399"), given_out("666120000"), given_out("078051120")
    (True, False, False)

    Source: Social Security Administration, "Social Security Number Randomization" (2011): no area
    is 000, 666 or from 900, no group 00, no serial 0000; and "Social Security Cards Issued by
    Woolworth" for a number of `PRINTED`.
    """
    area, group, serial = ssn[:3], ssn[3:5], ssn[5:]
    never = area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"
    return not never and ssn not in PRINTED
