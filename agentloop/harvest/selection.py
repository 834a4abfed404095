"""Which traces count: a small expression over what is known of them.

    outcome.reward >= 1 and not tag.test
    thumbs == "down" or (score < 0.5 and agent == "support")
    author in ["ann", "bob"] and started_at >= "2026-11-01" and metadata.shop.country == "PT"

| name | what it is |
|---|---|
| `agent`, `model`, `version`, `user`, `task_id` | texts of the run; `model` is the last call's |
| `started_at` | when it began: compares with dates and times (`2026-11-01T09:30+01:00`) |
| `score`, `thumbs` | what it settled at, in [0, 1]; the last thumb of a person: `up`, `down` |
| `author` | who judged, corrected or commented on it or on a call: equal to each of them |
| `outcome.NAME` | the value of an outcome |
| `tag.NAME`, `metadata.NAME` | what the application said of the run; `metadata.NAME.NAME` deeper |

Operators are `and or not`, comparisons, `in`, parentheses; literals numbers, texts, lists and
`true false null`. A name that is no word is written in brackets: `metadata["shop-id"]`. A date is
all of its day, in UTC; so is a time without an offset in UTC. What is not known (an outcome that
nobody recorded) is neither above nor below anything: a trace is selected when the expression is
true, not when it is unknown. A tag that a trace does not have is false.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from agentloop.base.errors import ExpressionError
from agentloop.base.records import Judged

NAMES = (
    *("agent", "author", "metadata.NAME", "model", "outcome.NAME", "score", "started_at"),
    *("tag.NAME", "task_id", "thumbs", "user", "version"),
)
CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

Condition = Callable[[Judged], bool]
"""Whether a trace is selected."""

PYTHON = "python:"
"""How the name of a condition begins that was written in Python."""

Facts = Mapping[str, Any]
Value = Callable[[Facts], Any]


def where(text: str, *, outcomes: Collection[str] | None = None) -> Condition:
    """The condition that `text` states.

    Args:
        outcomes: the names of outcomes that exist; another name is then an error and no silent
            "nothing selected".

    Raises:
        ExpressionError: `text` cannot be read, or names what does not exist; the message says
            where, and lists what does.
    """
    if text.startswith(PYTHON):
        raise ExpressionError(
            f"{text!r} names a function of Python's, which is not kept; give it again as where="
        )
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(
            f"cannot read {text!r} at character {error.offset}; e.g. "
            "'outcome.reward >= 1 and not tag.test'"
        ) from error
    selects = _Compiler(text, outcomes).truth(tree.body)
    return lambda judged: selects(judged.facts()) is True


def named(condition: Condition) -> str:
    """How a recipe says that a function of Python's selected the traces: its name, and not what it
    does."""
    name = getattr(condition, "__qualname__", type(condition).__qualname__)
    return f"{PYTHON}{condition.__module__}.{name}"


class _Compiler:
    def __init__(self, text: str, outcomes: Collection[str] | None) -> None:
        self._text = text
        self._outcomes = outcomes

    def compile(self, node: ast.expr) -> Value:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.truth(value) for value in values]
                return _all(parts) if isinstance(op, ast.And) else _any(parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(self.truth(operand))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return lambda _: -number
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison([left, *rights], ops)
            case ast.Name(id=name) if name.lower() in CONSTANTS:
                return lambda _: CONSTANTS[name.lower()]
            case ast.Name(id="author"):
                return lambda facts: _Several(facts["author"])
            case ast.Name(id="started_at"):
                return lambda facts: _Period.of(facts["started_at"])
            case ast.Name(id=name) if name in NAMES:
                return lambda facts: facts[name]
            case ast.Attribute() | ast.Subscript():
                return self._inner(node)
            case ast.Constant(value=str() | int() | float() | bool() | None as constant):
                return lambda _: constant
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                parts = [self.compile(element) for element in elements]
                return lambda facts: [part(facts) for part in parts]
            case ast.Name():
                raise self._error(f"there is no {ast.unparse(node)!r}")
        raise self._error(f"{ast.unparse(node)!r} is not allowed")

    def _inner(self, node: ast.Attribute | ast.Subscript) -> Value:
        """What stands under a name of an outcome, a tag or metadata."""
        of, path = self._path(node)
        first = path[0]
        if of == "metadata":
            return lambda facts: _under(facts["metadata"], path)
        if len(path) == 1 and of == "tag":
            return lambda facts: facts["tag"].get(first, False)
        if len(path) == 1 and of == "outcome":
            if self._outcomes is not None and first not in self._outcomes:
                known = ", ".join(sorted(self._outcomes)) or "none is recorded yet"
                raise ExpressionError(f"no outcome {first!r} in {self._text!r}; known: {known}")
            return lambda facts: facts["outcome"].get(first)
        raise self._error(f"there is no {ast.unparse(node)!r}")

    def _path(self, node: ast.expr) -> tuple[str, tuple[str, ...]]:
        """The name that all begins with, and the names under it: `a.b["c"]` is a, (b, c)."""
        match node:
            case ast.Name(id=name):
                return name, ()
            case (
                ast.Attribute(value=value, attr=name)
                | ast.Subscript(value=value, slice=ast.Constant(value=str(name)))
            ):
                first, rest = self._path(value)
                return first, (*rest, name)
        raise self._error(f"{ast.unparse(node)!r} is not allowed")

    def truth(self, node: ast.expr) -> Value:
        """The value as true, false or unknown: 0 and the empty text are false, others true."""
        value = self.compile(node)
        return lambda facts: None if (v := value(facts)) is None else bool(v)

    def _comparison(self, operands: list[ast.expr], ops: list[ast.cmpop]) -> Value:
        about_time = any(isinstance(o, ast.Name) and o.id == "started_at" for o in operands)
        read = self._moment if about_time else self.compile
        values = [read(operand) for operand in operands]
        about_null = any(isinstance(o, ast.Constant | ast.Name) and _is_null(o) for o in operands)

        def compare(facts: Facts) -> bool | None:
            got = [value(facts) for value in values]
            for op, left, right in zip(ops, got, got[1:], strict=False):
                held = _compared(op, left, right, about_null=about_null)
                if held is not True:
                    return held
            return True

        for op in ops:
            if type(op) not in COMPARISONS and not isinstance(op, ast.In | ast.NotIn):
                raise self._error(f"{type(op).__name__!r} is no comparison")
        return compare

    def _moment(self, node: ast.expr) -> Value:
        """What stands beside `started_at`: a date or a time, or several in a list."""
        match node:
            case ast.Constant(value=str() as text):
                try:
                    period = _Period.of(text)
                except ValueError:
                    raise self._error(
                        f"{text!r} is no date and no time, such as 2026-11-01 or "
                        "2026-11-01T09:30+01:00,"
                    ) from None
                return lambda _: period
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                parts = [self._moment(element) for element in elements]
                return lambda facts: [part(facts) for part in parts]
        return self.compile(node)

    def _error(self, why: str) -> ExpressionError:
        return ExpressionError(f"{why} in {self._text!r}; known names: {', '.join(NAMES)}")


class _Several(tuple[str, ...]):
    """Texts that are all meant by one name: equal to each of them."""

    __slots__ = ()


class _Period(NamedTuple):
    """A moment, or a day: everything in it is equal to it."""

    first: datetime
    last: datetime

    @classmethod
    def of(cls, text: str) -> "_Period":
        """The day or the moment that a text names; in UTC where it does not say."""
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        day = len(text) <= len("2026-11-01") and "T" not in text
        return cls(moment, moment + timedelta(days=1, microseconds=-1) if day else moment)

    def compare(self, op: ast.cmpop, other: "_Period") -> bool:
        before, after = self.last < other.first, self.first > other.last
        match op:
            case ast.Lt():
                return before
            case ast.LtE():
                return not after
            case ast.Gt():
                return after
            case ast.GtE():
                return not before
        return (not before and not after) is isinstance(op, ast.Eq)


def _compared(op: ast.cmpop, left: Any, right: Any, *, about_null: bool) -> bool | None:
    match op:
        case ast.NotEq():
            return _not_so(_held(ast.Eq(), left, right, about_null=about_null))
        case ast.NotIn():
            return _not_so(_held(ast.In(), left, right, about_null=about_null))
    return _held(op, left, right, about_null=about_null)


def _not_so(held: bool | None) -> bool | None:
    return None if held is None else not held


def _held(op: ast.cmpop, left: Any, right: Any, *, about_null: bool) -> bool | None:
    if isinstance(left, _Several):
        return any(_held(op, one, right, about_null=about_null) for one in left)
    if isinstance(op, ast.In):
        if left is None or not isinstance(right, list | str | _Several):
            return None
        if isinstance(right, str):
            return isinstance(left, str) and left in right
        return any(_held(ast.Eq(), left, one, about_null=True) for one in right)
    if isinstance(right, _Several):
        return any(_held(op, left, one, about_null=about_null) for one in right)
    if (left is None or right is None) and not about_null:
        return None
    if isinstance(left, _Period) and isinstance(right, _Period):
        return left.compare(op, right)
    try:
        return COMPARISONS[type(op)](left, right)
    except TypeError:  # a text above a number: nothing that could be true
        return False


def _under(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _is_null(node: ast.Constant | ast.Name) -> bool:
    if isinstance(node, ast.Name):
        return node.id.lower() in ("null", "none")
    return node.value is None


def _all(parts: list[Value]) -> Value:
    def value(facts: Facts) -> bool | None:
        got = [part(facts) for part in parts]
        return False if False in got else None if None in got else True

    return value


def _any(parts: list[Value]) -> Value:
    def value(facts: Facts) -> bool | None:
        got = [part(facts) for part in parts]
        return True if True in got else None if None in got else False

    return value


def _not(part: Value) -> Value:
    return lambda facts: None if (v := part(facts)) is None else not v
