"""The tiny base model that comes with the package: an agent that fits in a mail.

It was trained from nothing on made-up conversations, calls tools it has never seen, and is small
enough to be fine-tuned on two CPU cores in a minute. `model/README.md` says what it can do.
"""

from pathlib import Path

NAME = "agentloop-tiny"
"""What the local provider calls it."""


def folder() -> Path:
    """Where the model lies: an ordinary Hugging Face folder, loaded without remote code."""
    return Path(__file__).with_name("model")
