"""What went when a user was erased, and what still holds something."""

from agentloop.base.records.record import Record


class Erasure(Record):
    """What was erased, or would be."""

    user: str
    """Whose it was; the store keeps the counts, and not this."""
    done: bool
    """False: nothing was changed, this is what would go."""
    traces: int
    """Runs of that user, with all their calls and steps."""
    calls: int
    opinions: int
    """Opinions on runs of that user, and those by that user that were words alone."""
    outcomes: int
    messages: int
    """Those that nobody else's run has said, too."""
    media: int
    renamed: int
    """Scores that the user gave to runs of others: they stay, under a pseudonym and without
    comment and correction."""
    rows: dict[str, int]
    """Dataset -> how many of its rows lost what they said."""
    versions: tuple[str, ...] = ()
    """Versions that learned from these rows: weights cannot be erased, train them again."""
    left: tuple[str, ...] = ()
    """What may still hold something, and what to do about it."""
