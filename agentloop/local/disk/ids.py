"""Names of things, in OpenAI's forms."""

import secrets
import string
import time

_ALPHABET = string.ascii_letters + string.digits


def fresh(kind: str, length: int = 24) -> str:
    """`kind` and random letters: `fresh("file-")` -> `file-3kZ…`."""
    drawn = secrets.randbelow(len(_ALPHABET) ** length)
    letters = []
    for _ in range(length):
        drawn, letter = divmod(drawn, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return kind + "".join(letters)


def now() -> int:
    """This second, as a Unix timestamp."""
    return int(time.time())
