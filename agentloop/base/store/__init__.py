"""The memory of the loop: all SQL is in here, behind `Store` and `Writer`."""

from agentloop.base.store.batch import Storable
from agentloop.base.store.changes import Point
from agentloop.base.store.comparing import InLedger, Side, compare
from agentloop.base.store.datasets import Lesson, RowLine, Stored
from agentloop.base.store.ledger import Ledger, Lineage
from agentloop.base.store.live import Live, Serving
from agentloop.base.store.reading import Spans
from agentloop.base.store.recovery import recover
from agentloop.base.store.store import Fork, Names, Place, Store
from agentloop.base.store.writer import WEIGHT, Work, Writer, made

__all__ = [
    "WEIGHT",
    "Fork",
    "InLedger",
    "Ledger",
    "Lesson",
    "Lineage",
    "Live",
    "Names",
    "Place",
    "Point",
    "RowLine",
    "Serving",
    "Side",
    "Spans",
    "Storable",
    "Store",
    "Stored",
    "Work",
    "Writer",
    "compare",
    "made",
    "recover",
]
