"""E-mail addresses, and those of machines."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from agentloop.harvest.redaction.finding import Finding

HOST = re.compile(r"@[\w-]+(?:\.[\w-]+)*\.(?:[^\W\d_]{2,24}|xn--[\w-]{2,40})(?![\w-])")
LOCAL = re.compile(r"[\w.+%'-]{1,64}\Z")
FALSE_EMAIL = re.compile(r"person[0-9]+@example\.com", re.IGNORECASE)
PASSWORD = re.compile(r"://[^\s/@]{1,200}\Z")
"""Before an `@`: it is the end of a password in an address (`postgres://user:word@host.com`)."""

IPV4 = re.compile(
    r"[0-9](?<![\w.][0-9])(?<![A-Za-z]/[0-9])(?<!\w[-+][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])"
)
IPV4_HINT = re.compile(r"\.[0-9]{1,3}\.[0-9]")
VERSION = re.compile(
    r"(?:version|release|build|section|chapter|\bver|\bv)[\W_]{0,3}\Z", re.IGNORECASE
)
NETWORK = re.compile(r"/[0-9]{1,2}(?![0-9])")
HOSTS = re.compile(r"\bip|address|host|server|client|dns|from|\bvia|gateway|addr", re.IGNORECASE)
IPV6_HINT = re.compile(r"::|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{3,45}+(?:(?:\.[0-9]{1,3}){3})?(?!\w)")


def emails(text: str) -> Iterator[Finding]:
    """E-mail addresses, but for those that stand in for others already."""
    for match in HOST.finditer(text):
        local = LOCAL.search(text, max(0, match.start() - 64), match.start())
        if local is None:
            continue
        start = local.start()
        if text[start - 1 : start] == "\\" and text[start] in "nrt":
            start += 1  # what looks like a letter is the end of an escaped line break
        start += len(text[start : match.start()]) - len(text[start : match.start()].lstrip(".+%'-"))
        whole = text[start : match.end()]
        if start == match.start() or FALSE_EMAIL.fullmatch(whole) or whole.startswith("git@"):
            continue
        if not PASSWORD.search(text, max(0, start - 200), match.start()):
            yield Finding(start, match.end(), "email")


def ips(text: str) -> Iterator[Finding]:
    """Addresses of machines, versions 4 and 6, but for those that are nobody's: loopback, netmasks,
    whole networks, and those that stand in for others already. A version or a section is none."""
    if IPV4_HINT.search(text):
        for match in IPV4.finditer(text):
            before = text[max(0, match.start() - 32) : match.start()]
            whole = match[0].endswith(".0") and NETWORK.match(text, match.end())
            if not whole and _somebodys4(match[0], before):
                yield Finding(*match.span(), "ip")
    if IPV6_HINT.search(text):
        for match in IPV6.finditer(text):
            said = match[0]
            if said[-1] == ":" and said[-2:] != "::":
                said = said[:-1]
            if said.count(":") == 8 and "::" not in said:
                said = said.rpartition(":")[0]  # a port
            if _somebodys6(said):
                yield Finding(match.start(), match.start() + len(said), "ip")


def _somebodys4(said: str, before: str) -> bool:
    try:
        IPv4Address(said)
    except AddressValueError:
        return False
    parts = said.split(".")
    if parts[0] in ("0", "127", "255") or parts[1:] == ["0", "0", "0"]:
        return False
    if said.startswith("192.0.2.") or VERSION.search(before):
        return False
    return any(len(part) > 1 for part in parts) or HOSTS.search(before) is not None


def _somebodys6(said: str) -> bool:
    try:
        address = IPv6Address(said)
    except AddressValueError:
        return False
    value = int(address)
    if value < 1 << 32 or value >> 32 == FALSE_IPV6 >> 32:
        return False
    written = [part for part in said.split(":") if part]
    return len(written) >= 3 and any(c.isdigit() for c in said)


FALSE_IPV6 = int(IPv6Address("2001:db8::"))
"""The first of the addresses for documentation; 2**32 of them stand in for others."""
