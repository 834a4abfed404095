"""The demo's shop: a few orders in SQLite, and the operations its support agent may call."""

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Self

REASONS = ("damaged", "late", "wrong_item", "unwanted")
"""Why the shop gives money back."""

PROBLEMS = ("double_charge", "wrong_amount", "missing_invoice")
"""What the billing desk opens a case for."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order as the shop knows it. `eta` is a word a customer would understand."""

    id: str
    item: str
    status: str
    city: str
    carrier: str
    eta: str
    total: int


SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, item TEXT, status TEXT, city TEXT, carrier TEXT, eta TEXT, total INTEGER);
CREATE TABLE refunds (order_id TEXT REFERENCES orders, reason TEXT);
CREATE TABLE cases (order_id TEXT REFERENCES orders, problem TEXT);
CREATE TABLE lookups (order_id TEXT REFERENCES orders, what TEXT);
"""  # noqa: E501


class Shop:
    """One customer's view of the shop: an SQLite database in memory, changed by the operations.

    Each operation answers with what an agent may tell the customer; one that names an order the
    shop does not have answers `{"error": …}` and changes nothing.
    """

    def __init__(self, orders: Iterable[Order]) -> None:
        # An agent's tools run in worker threads, one conversation never in two at once.
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.executescript(SCHEMA)
        rows = [astuple(order) for order in orders]
        self._db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def find_order(self, order_id: str) -> dict[str, str | int]:
        """What was ordered, and the state it is in."""
        if (order := self._order(order_id)) is None:
            return _unknown(order_id)
        self._db.execute("INSERT INTO lookups VALUES (?, 'order')", [order_id])
        return {"order_id": order_id, "item": order.item, "status": order.status}

    def track_parcel(self, order_id: str) -> dict[str, str | int]:
        """Who carries the parcel, and when it comes."""
        if (order := self._order(order_id)) is None:
            return _unknown(order_id)
        self._db.execute("INSERT INTO lookups VALUES (?, 'parcel')", [order_id])
        return {"order_id": order_id, "carrier": order.carrier, "eta": order.eta}

    def cancel_order(self, order_id: str) -> dict[str, str | int]:
        """Stop an order before it is sent."""
        if self._order(order_id) is None:
            return _unknown(order_id)
        self._db.execute("UPDATE orders SET status = 'cancelled' WHERE id = ?", [order_id])
        return {"order_id": order_id, "result": "cancelled"}

    def refund_order(self, order_id: str, reason: str) -> dict[str, str | int]:
        """Give the money for an order back, once."""
        if (order := self._order(order_id)) is None:
            return _unknown(order_id)
        self._db.execute("INSERT INTO refunds VALUES (?, ?)", [order_id, reason])
        return {"order_id": order_id, "result": "refunded", "total": order.total}

    def change_address(self, order_id: str, city: str) -> dict[str, str | int]:
        """Send an order to another city."""
        if self._order(order_id) is None:
            return _unknown(order_id)
        self._db.execute("UPDATE orders SET city = ? WHERE id = ?", [city, order_id])
        return {"order_id": order_id, "result": "changed", "city": city}

    def open_case(self, order_id: str, problem: str) -> dict[str, str | int]:
        """Have the billing desk look at what was charged."""
        if self._order(order_id) is None:
            return _unknown(order_id)
        self._db.execute("INSERT INTO cases VALUES (?, ?)", [order_id, problem])
        return {"order_id": order_id, "result": "opened", "problem": problem}

    def state(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything that a customer's request may change, in an order of its own: comparable."""
        tables = ("orders", "refunds", "cases")
        return {t: sorted(self._db.execute(f"SELECT * FROM {t}")) for t in tables}  # noqa: S608

    def lookups(self) -> set[tuple[str, str]]:
        """What was looked up: pairs of order id and `order` or `parcel`."""
        return set(self._db.execute("SELECT order_id, what FROM lookups"))

    def _order(self, order_id: str) -> Order | None:
        row = self._db.execute("SELECT * FROM orders WHERE id = ?", [order_id]).fetchone()
        return Order(*row) if row else None


def _unknown(order_id: str) -> dict[str, str | int]:
    return {"error": f"there is no order {order_id}"}
