"""The memory of the loop: all SQL is in here, behind `Store` and `Writer`."""

from agentloop.base.store.batch import Storable
from agentloop.base.store.ledger import Ledger, Lineage
from agentloop.base.store.live import Live, Serving
from agentloop.base.store.reading import Spans
from agentloop.base.store.recovery import recover
from agentloop.base.store.store import Fork, Names, Place, Store
from agentloop.base.store.writer import WEIGHT, Work, Writer, made

__all__ = [
    "WEIGHT",
    "Fork",
    "Ledger",
    "Lineage",
    "Live",
    "Names",
    "Place",
    "Serving",
    "Spans",
    "Storable",
    "Store",
    "Work",
    "Writer",
    "made",
    "recover",
]
