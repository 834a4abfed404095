"""Keys, tokens and passwords: by the prefix that their issuer gives them, by their form, or by
what they are assigned to."""

import re
from collections import Counter
from collections.abc import Iterator
from math import log2

from agentloop.harvest.redaction.finding import Finding

ISSUED = {
    "sk-": r"sk-(?:[a-z]{2,8}[0-9]{0,2}-){0,2}[\w-]{20,}",
    "pk-lf-": r"pk-lf-[\w-]{20,}",
    **{
        f"{who}_{where}_": rf"{who}_{where}_[A-Za-z0-9]{{16,}}"
        for who in ("sk", "rk", "pk")
        for where in ("live", "test")
    },
    "whsec_": r"whsec_[A-Za-z0-9+/=]{24,}",
    "AKIA": r"AKIA[A-Z2-7]{16}",
    "ASIA": r"ASIA[A-Z2-7]{16}",
    **{f"gh{kind}_": rf"gh{kind}_[A-Za-z0-9]{{36,}}" for kind in "pousr"},
    "github_pat_": r"github_pat_\w{22,}",
    "glpat-": r"glpat-[\w-]{20,}",
    "xox": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "xapp-": r"xapp-[A-Za-z0-9-]{10,}",
    "hooks.slack.com/services/": r"hooks\.slack\.com/services/(?P<key>T\w+/B\w+/\w{16,})",
    "AIza": r"AIza[\w-]{35}",
    "ya29.": r"ya29\.[\w-]{20,}",
    "GOCSPX-": r"GOCSPX-[\w-]{20,}",
    "hf_": r"hf_[A-Za-z0-9]{30,}",
    "npm_": r"npm_[A-Za-z0-9]{36}",
    "pypi-": r"pypi-[\w-]{50,}",
    "SG.": r"SG\.[\w-]{16,}\.[\w-]{16,}",
    "SK": r"SK[0-9a-f]{32}",
    "key-": r"key-[0-9a-f]{32}",
    "dop_v1_": r"dop_v1_[a-f0-9]{64}",
    "shp": r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    "lin_api_": r"lin_api_[A-Za-z0-9]{30,}",
    "dapi": r"dapi[a-f0-9]{32}",
    "gsk_": r"gsk_[A-Za-z0-9]{40,}",
    "xai-": r"xai-[A-Za-z0-9]{40,}",
    "pplx-": r"pplx-[A-Za-z0-9]{40,}",
    "nvapi-": r"nvapi-[\w-]{40,}",
    "r8_": r"r8_[A-Za-z0-9]{37}",
    "tgp_v1_": r"tgp_v1_[\w-]{30,}",
    "sq0": r"sq0(?:atp|csp|idp)-[\w-]{22,}",
    "AGE-SECRET-KEY-1": r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
    "eyJ": r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
}
"""How the keys of an issuer begin, and their form; last the signed tokens of JOSE. Sources: the
issuers' own documentation, as the public rule sets of secret scanners gather it."""
FREE = r"(?:(?<![\w+/.-])|(?<=\\[nrt]))"
FORMS = [
    (
        hint,
        re.compile(rf"{'' if '(?P<key>' in form else FREE}{form}(?![\w-])"),
        r"[\w-]" in form,  # words with dashes between them may have this form too
    )
    for hint, form in ISSUED.items()
]
PEM = re.compile(
    r"-----BEGIN (?P<what>[A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?)-----(?P<key>.{1,16000}?)"
    r"-----END (?P=what)-----",
    re.DOTALL,
)
HEADER = re.compile(r"(?:bearer|basic)\s{1,3}(?P<key>[A-Za-z0-9._~+/-]{16,}={0,2})", re.IGNORECASE)
IN_ADDRESS = re.compile(r"://[^\s:/@]{0,64}:(?P<key>[^\s/@]{3,128})@")
TO = (
    r"(?:[_-]?(?:id|value))?(?P<to>\\{0,3}[\"']?\s{0,3}(?::=|=>|[:=]|\bis\b)\s{0,3}\\{0,3}[\"']?)"
    r"(?P<key>[^\s\"'\\,;&<>(){}\[\]]{6,512})"
)
PASSWORD = re.compile(rf"(?:passw(?:or)?d|passphrase|pwd){TO}", re.IGNORECASE)
NAMED = re.compile(rf"(?:(?P<token>token)|key|secret|credential){TO}", re.IGNORECASE)
NAMES = {
    **dict.fromkeys(("passw", "passphrase", "pwd"), PASSWORD),
    **dict.fromkeys(("key", "secret", "token", "credential"), NAMED),
}
OF_KEY = re.compile(
    r"(?:api|access|account|private|secret|auth|encryption|signing|master|shared|service|app)"
    r"[ _-]?\Z",
    re.IGNORECASE,
)
"""What a key is called that opens something; others are in tables and on keyboards."""
PAGES = re.compile(
    r"(?:page|next|sync|cursor|continuation|max|prompt|completion)[ _-]?\Z", re.IGNORECASE
)
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
ENTROPY = 3.0
"""Bits a character that the characters of a key have at least, by their own frequencies."""


def secrets(text: str) -> Iterator[Finding]:
    """Keys, tokens and passwords, but for those that stand in for others already."""
    for start, end in _found(text):
        if not masked(text[start:end]):
            yield Finding(start, end, "secret")


def _found(text: str) -> Iterator[tuple[int, int]]:
    if "PRIVATE KEY" in text:
        yield from (match.span("key") for match in PEM.finditer(text))
    for hint, form, wordy in FORMS:
        if hint not in text:
            continue
        for match in _at(hint, form, text, text):
            start, end = match.span("key" if "key" in form.groupindex else 0)
            if not wordy or _mixed(text[start:end]):
                yield start, end
    if "://" in text and "@" in text:
        found = IN_ADDRESS.finditer(text)
        yield from (match.span("key") for match in found if not match["key"].isalpha())
    low = text.lower()
    if len(low) != len(text):  # some letters have no lower form of their length
        low = text
    for hint in ("bearer", "basic"):
        if hint in low:
            yield from (m.span("key") for m in _at(hint, HEADER, low, text) if _mixed(m["key"]))
    for hint, form in NAMES.items():
        if hint in low:
            yield from (m.span("key") for m in _at(hint, form, low, text) if _is_key(text, m))


def _at(hint: str, form: re.Pattern[str], where: str, text: str) -> Iterator[re.Match[str]]:
    """Where `form` begins with `hint`: much quicker than to look for the form everywhere."""
    at = where.find(hint)
    while at >= 0:
        match = form.match(text, at)
        if match:
            yield match
        at = where.find(hint, match.end() if match else at + 1)


def _is_key(text: str, match: re.Match[str]) -> bool:
    """Whether what is assigned looks like a key, and not like a word, a number or a page."""
    key, name = match["key"], match[0].lower()
    spoken = "is" in match["to"]
    before = text[max(0, match.start() - 16) : match.start()]
    if name.startswith("p"):
        return _mixed(key)
    if name.startswith("key") and not OF_KEY.search(before):
        return False
    if spoken or len(key) < 16 or not _mixed(key) or entropy(key) < ENTROPY:
        return False
    return not (match["token"] and (UUID.fullmatch(key) or PAGES.search(before)))


def _mixed(key: str) -> bool:
    return any(c.isdigit() for c in key) and any(c.isalpha() for c in key)


def masked(key: str) -> bool:
    """Whether a key stands in for another: it is made of `x`.

    >>> masked("sk-proj-xxxxxxxxxxxxxxxxxxx1"), masked("sk-proj-Jx72bH1qvT0sLmN4wXaZ")
    (True, False)
    """
    return 2 * key.count("x") >= len(key)


def entropy(key: str) -> float:
    """Bits a character, by the frequencies of the characters in `key` itself.

    >>> entropy("aaaa"), entropy("abcd")
    (0.0, 2.0)
    """
    return sum(n / len(key) * log2(len(key) / n) for n in Counter(key).values())
