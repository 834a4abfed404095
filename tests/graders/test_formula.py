"""The formula of a multi: arithmetic, and nothing that is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.errors import GraderError
from agentloop.graders.formula import FUNCTIONS, Formula

REWARDS = {"a": 0.5, "b": 2.0, "exact_match": 1.0}


def value(formula: str) -> float:
    return Formula(formula, list(REWARDS))(REWARDS)


@pytest.mark.parametrize(
    ("formula", "result"),
    [
        ("a", 0.5),
        ("0.4*a + 0.6*b", 1.4),
        ("(a + b) / 2", 1.25),
        ("a - b - 1", -2.5),
        ("-a + +b", 1.5),
        ("2^3^2", 512.0),
        ("2**3", 8.0),
        ("a + b^2", 4.5),
        ("-b^2", -4.0),
        ("b ^ -1", 0.5),
        ("min(a, b, 1)", 0.5),
        ("max(a, b)", 2.0),
        ("max(a)", 0.5),
        ("abs(a - b)", 1.5),
        ("floor(a) + ceil(a)", 1.0),
        ("exp(0) + log(exp(1))", 2.0),
        ("log(8, 2)", 3.0),
        ("sqrt(b*8)", 4.0),
        (" exact_match\n", 1.0),
        ("1", 1.0),
        ("1e-3", 0.001),
    ],
)
def test_it_comes_to(formula, result):
    assert value(formula) == pytest.approx(result)


@pytest.mark.parametrize(
    "formula", ["1/(a-a)", "log(a-a)", "sqrt(-a)", "(-1)^a", "10^400", "exp(1000)", "1e308*10*a"]
)
def test_without_a_finite_value_it_raises(formula):
    with pytest.raises((ArithmeticError, ValueError)):
        value(formula)


@pytest.mark.parametrize(
    "formula",
    [
        "",
        "a +",
        "a b",
        "0.5 * a + 0.5 * b)",
        "c",
        "A",
        "a = 1",
        "a; b",
        "a if a else b",
        "a > b",
        "a and b",
        "not a",
        "a // b",
        "a % b",
        "a << 2",
        "a & b",
        "~1",
        "a.real",
        "a[0]",
        "[a]",
        "(a, b)",
        "'a'",
        "f'{a}'",
        "True",
        "None",
        "1j",
        "lambda: a",
        "[x for x in a]",
        "__import__('os')",
        "eval(a)",
        "max",
        "max()",
        "abs(a, b)",
        "sqrt()",
        "min(*a)",
        "log(x=a)",
        "min(a, key=b)",
        "a.__class__()",
        "(lambda: a)()",
        "(a := 1)",
        "await a",
        "\x00",
        "(" * 5000 + "a" + ")" * 5000,
        "-" * 5000 + "a",
        "+".join(["a"] * 5000),
    ],
)
def test_what_is_no_arithmetic_is_refused_in_one_sentence(formula):
    with pytest.raises(GraderError, match=r"^calculate_output: ") as refusal:
        Formula(formula, list(REWARDS))
    assert len(str(refusal.value)) < 400


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(GraderError, match=r"no sub-grader 'c'; there are a, b, exact_match"):
        Formula("a + c", list(REWARDS))


def test_a_tower_of_powers_ends_at_once():
    with pytest.raises(OverflowError):
        value("9^9^9^9")


def nested(inner):
    """Formulas in both spellings, ours and Python's."""

    def write(shape, *parts):
        return tuple(shape.format(*(part[side] for part in parts)) for side in (0, 1))

    shapes_of_one = [f"{name}({{}})" for name in ("abs", "exp", "sqrt", "log", "floor", "ceil")]
    shapes_of_two = [
        "({} + {})",
        "({} - {})",
        "({} * {})",
        "({} / {})",
        "min({}, {})",
        "max({}, {})",
    ]
    return st.one_of(
        st.builds(write, st.sampled_from(["(-{})", *shapes_of_one]), inner),
        st.builds(write, st.sampled_from(shapes_of_two), inner, inner),
        st.builds(lambda a, b: (f"({a[0]} ^ {b[0]})", f"pow({a[1]}, {b[1]})"), inner, inner),
    )


leaves = st.sampled_from(["a", "b", "0.5", "3"]).map(lambda text: (text, text))
rewards = st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(leaves, nested, max_leaves=6), rewards, rewards)
def test_it_agrees_with_python_or_has_no_value(spellings, a, b):
    ours, theirs = spellings
    functions = {name: function for name, (function, *_) in FUNCTIONS.items()}
    try:
        expected = float(eval(theirs, {**functions, "pow": math.pow, "a": a, "b": b}))
    except (ArithmeticError, ValueError):
        expected = math.nan
    formula = Formula(ours, ["a", "b"])
    if math.isfinite(expected):
        assert formula({"a": a, "b": b}) == expected
    else:
        with pytest.raises((ArithmeticError, ValueError)):
            formula({"a": a, "b": b})
