"""Which traces count: a small expression over what is known of them.

    outcome.reward >= 1 and not tag.test
    thumbs == "down" or (score < 0.5 and agent == "support")

Names: `outcome.NAME`, `score`, `thumbs`, `tag.NAME`, `agent`, `model`, `version`, `user`,
`task_id`, `started_at`; operators: `and or not`, comparisons, `in`, parentheses; literals:
numbers, texts, `true false null`. What is not known (an outcome that nobody recorded) is neither
above nor below anything: a trace is selected when the expression is true, not when it is unknown.
A tag that a trace does not have is false.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from agentloop.base.errors import ExpressionError
from agentloop.base.records import Judged

NAMES = (
    *("agent", "model", "outcome.NAME", "score", "started_at", "tag.NAME", "task_id"),
    *("thumbs", "user", "version"),
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
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(
            f"cannot read {text!r} at character {error.offset}; e.g. "
            "'outcome.reward >= 1 and not tag.test'"
        ) from error
    selects = _Compiler(text, outcomes).truth(tree.body)
    return lambda judged: selects(judged.facts()) is True


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
            case ast.Name(id=name) if name in NAMES:
                return lambda facts: facts[name]
            case ast.Attribute(value=ast.Name(id="outcome"), attr=name):
                if self._outcomes is not None and name not in self._outcomes:
                    known = ", ".join(sorted(self._outcomes)) or "none is recorded yet"
                    raise ExpressionError(f"no outcome {name!r} in {self._text!r}; known: {known}")
                return lambda facts: facts["outcome"].get(name)
            case ast.Attribute(value=ast.Name(id="tag"), attr=name):
                return lambda facts: facts["tag"].get(name, False)
            case ast.Constant(value=str() | int() | float() | bool() | None as constant):
                return lambda _: constant
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                parts = [self.compile(element) for element in elements]
                return lambda facts: [part(facts) for part in parts]
            case ast.Name() | ast.Attribute():
                raise self._error(f"there is no {ast.unparse(node)!r}")
        raise self._error(f"{ast.unparse(node)!r} is not allowed")

    def truth(self, node: ast.expr) -> Value:
        """The value as true, false or unknown: 0 and the empty text are false, others true."""
        value = self.compile(node)
        return lambda facts: None if (v := value(facts)) is None else bool(v)

    def _comparison(self, operands: list[ast.expr], ops: list[ast.cmpop]) -> Value:
        values = [self.compile(operand) for operand in operands]
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

    def _error(self, why: str) -> ExpressionError:
        return ExpressionError(f"{why} in {self._text!r}; known names: {', '.join(NAMES)}")


def _compared(op: ast.cmpop, left: Any, right: Any, *, about_null: bool) -> bool | None:
    inside = isinstance(op, ast.In | ast.NotIn)
    if inside and (left is None or not isinstance(right, list | str)):
        return None
    if (left is None or right is None) and not about_null:
        return None
    try:
        if inside:
            return (left in right) is isinstance(op, ast.In)
        return COMPARISONS[type(op)](left, right)
    except TypeError:  # a text above a number: nothing that could be true
        return False


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
