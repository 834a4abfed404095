"""Names of things, in OpenAI's forms."""

import secrets
import string
import time

_ALPHABET = string.ascii_letters + string.digits


def fresh(kind: str, length: int = 24) -> str:
    """`kind` and random letters: `fresh("file-")` -> `file-3kZ…`."""
    return kind + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def now() -> int:
    """This second, as a Unix timestamp."""
    return int(time.time())
