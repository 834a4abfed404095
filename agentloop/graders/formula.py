"""`calculate_output`: the formula that makes one reward of many.

It knows the names of the sub-graders, numbers, `+ - * / ^`, parentheses, and the functions below.
It is read once with Python's parser, everything else is refused, and simpleeval computes it.
"""

import ast
import math
import threading
from collections.abc import Callable, Collection, Mapping

from agentloop.base.errors import GraderError

FUNCTIONS: dict[str, tuple[Callable[..., float], int, int | None]] = {
    "abs": (abs, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "exp": (math.exp, 1, 1),
    "floor": (math.floor, 1, 1),
    "log": (math.log, 1, 2),
    "max": (lambda *numbers: max(numbers), 1, None),
    "min": (lambda *numbers: min(numbers), 1, None),
    "sqrt": (math.sqrt, 1, 1),
}
"""Each function, and how many arguments it takes at least and at most. `log` is the natural one;
a second argument is its base."""

DEEPEST = 200
"""Levels of nesting; a + b + c has two. Deeper formulas are refused: no stack is endless."""

_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    # In floating point: integers would make 9^9^9 a number of 370 million digits.
    ast.Pow: math.pow,
    ast.UAdd: lambda a: a,
    ast.USub: lambda a: -a,
}


class Formula:
    """A formula over the rewards of sub-graders, checked once and computed often.

    >>> formula = Formula("0.4 * name + 0.6 * max(args, 0) ^ 2", ["name", "args"])
    >>> formula({"name": 1.0, "args": 0.5})
    0.55

    Args:
        text: the formula; `^` is "to the power of", and so is `**`.
        names: of the sub-graders; no others can be used.
        where: the field it stands in, for the sentence of a refusal.

    Raises:
        GraderError: it cannot be read, or uses a name, function or operator that is not there.
    """

    def __init__(
        self, text: str, names: Collection[str], *, where: str = "calculate_output"
    ) -> None:
        from simpleeval import SimpleEval

        self._body = _parse(text, where)
        _check(self._body, names, where)
        self._eval = SimpleEval(
            operators=_OPERATORS,
            functions={name: function for name, (function, *_) in FUNCTIONS.items()},
            names={},
        )
        # SimpleEval keeps the names on itself, and a server grades from several threads.
        self._lock = threading.Lock()

    def __call__(self, rewards: Mapping[str, float]) -> float:
        """What it comes to.

        Raises:
            ArithmeticError, ValueError: it has no finite value here: 1/0, log(0), (-1)^0.5.
        """
        with self._lock:
            self._eval.names = rewards
            value = float(self._eval.eval("", previously_parsed=self._body))
        if not math.isfinite(value):
            raise ValueError(f"the formula comes to {value}")
        return value


def _parse(text: str, where: str) -> ast.expr:
    try:
        # A formula has no strings that this could hit. It cannot be left to Python's own ^,
        # which binds looser than +.
        return ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GraderError(
            f"{where}: {text[:80]!r} is no formula ({error}); write one such as 0.5 * a + 0.5 * b"
        ) from error


def _check(body: ast.expr, names: Collection[str], where: str) -> None:
    """Refuse everything but arithmetic over `names`."""
    todo = [(body, 0)]
    while todo:
        node, depth = todo.pop()
        if depth > DEEPEST:
            raise GraderError(f"{where}: nested more than {DEEPEST} deep; write it shorter")
        inner: list[ast.expr] = []
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                inner = [left, right]
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                inner = [operand]
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                _check_call(name, len(arguments), where)
                inner = arguments
            case ast.Name(id=name):
                if name not in names:
                    raise GraderError(
                        f"{where}: there is no sub-grader {name!r}; there are {', '.join(names)}"
                    )
            case ast.Constant(value=value) if type(value) in (int, float):
                pass
            case _:
                raise GraderError(
                    f"{where}: a {type(node).__name__} has no place in a formula; use "
                    f"sub-graders, numbers, + - * / ^ and {', '.join(FUNCTIONS)}"
                )
        todo += [(part, depth + 1) for part in inner]


def _check_call(name: str, given: int, where: str) -> None:
    if name not in FUNCTIONS:
        raise GraderError(f"{where}: no function {name!r}; there are {', '.join(FUNCTIONS)}")
    _, least, most = FUNCTIONS[name]
    if given < least or (most is not None and given > most):
        raise GraderError(f"{where}: {name} does not take {given} argument(s)")
