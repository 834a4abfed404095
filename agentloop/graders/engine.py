"""The engine: a grader's JSON becomes an object that grades."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from agentloop.base.errors import GraderError
from agentloop.base.records import Json
from agentloop.graders import schema
from agentloop.graders.formula import Formula
from agentloop.graders.grade import NO_ERRORS, Grade
from agentloop.graders.sample import sample_of
from agentloop.graders.sandbox import Limits, Sandbox, check
from agentloop.graders.similarity import metric
from agentloop.graders.templates import Template, Unresolved

Sample = Mapping[str, Any] | str
"""What the model answered: the `sample` namespace, or just the text of the answer."""


def compile(spec: Mapping[str, Any], *, limits: Limits | None = None) -> "Grader":
    """The grader that `spec` describes, ready to grade.

    Args:
        spec: OpenAI's grader JSON: `string_check`, `text_similarity`, `python` or `multi`.
        limits: what a python grader may use; OpenAI's limits when absent.

    Raises:
        GraderError: the grader is wrong; the one sentence names the field and the way out.
    """
    return _grader(schema.read(spec), limits or Limits(), "")


class Mark(NamedTuple):
    """What one type of grader makes of one sample."""

    reward: float
    errors: Mapping[str, object] = MappingProxyType({})
    sub_rewards: Mapping[str, float] = MappingProxyType({})


class Grader(ABC):
    """A compiled grader. `close` it, or use `with`: a python grader keeps a process.

    It may be used from several threads; python graders then take turns.
    """

    def __init__(self, spec: schema.Spec) -> None:
        self.name = spec.name
        self.type = spec.type
        self.spec: Json = spec.model_dump(exclude_none=True)
        """The grader in canonical JSON: a multi's sub-graders as an object by name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most types keep nothing
        """End the processes it keeps, if any. Grading again starts them again."""

    def grade(self, sample: Sample, item: Mapping[str, Any] | None = None) -> Grade:
        """What `sample` is worth for `item`. Data never makes it raise: see `Grade.errors`.

        Args:
            sample: see `sample_of`; a plain text fills `output_text`, and `output_json` where
                it is JSON.
            item: the row as a JSON object: what templates call `item.…`; empty when absent.
        """
        start = time.perf_counter()
        if isinstance(sample, str):
            sample = sample_of({"role": "assistant", "content": sample})
        mark = self._safely_mark(sample, {} if item is None else item)
        return Grade(
            reward=mark.reward,
            sub_rewards=dict(mark.sub_rewards),
            errors={**NO_ERRORS, **mark.errors},
            seconds=time.perf_counter() - start,
        )

    def grade_many(self, pairs: Iterable[tuple[Sample, Mapping[str, Any] | None]]) -> list[Grade]:
        """One grade for each `(sample, item)`, in their order."""
        return [self.grade(sample, item) for sample, item in pairs]

    def _safely_mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        if not isinstance(sample, Mapping):
            return Mark(0.0, {"sample_parse_error": True})
        try:
            return self._mark(sample, item)
        except Unresolved as path:
            # No output_json means that the answer was no JSON: that is why the path fails.
            parse = str(path).startswith("sample.output_json") and "output_json" not in sample
            return Mark(0.0, {"invalid_variable_error": True, "sample_parse_error": parse})
        except (ArithmeticError, TypeError, ValueError, RecursionError, MemoryError):
            return Mark(0.0, {"other_error": True})

    @abstractmethod
    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        """The work of one type. `Unresolved` and ordinary errors become flags in the caller."""


class _Comparing(Grader):
    """What string_check and text_similarity share: two templates, rendered."""

    def __init__(self, spec: schema.StringCheck | schema.TextSimilarity, where: str) -> None:
        super().__init__(spec)
        self._input = Template(spec.input, where=f"{where}input")
        self._reference = Template(spec.reference, where=f"{where}reference")

    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        spaces = {"sample": sample, "item": item}
        return Mark(self._compare(self._input.render(spaces), self._reference.render(spaces)))

    @abstractmethod
    def _compare(self, text: str, reference: str) -> float: ...


class _StringChecker(_Comparing):
    def __init__(self, spec: schema.StringCheck, where: str) -> None:
        super().__init__(spec, where)
        self._operation = spec.operation

    def _compare(self, text: str, reference: str) -> float:
        match self._operation:
            case "eq":
                return float(text == reference)
            case "ne":
                return float(text != reference)
            case "like":
                return float(reference in text)
            case "ilike":
                return float(reference.lower() in text.lower())


class _SimilarityGrader(_Comparing):
    def __init__(self, spec: schema.TextSimilarity, where: str) -> None:
        super().__init__(spec, where)
        self._metric = metric(spec.evaluation_metric, where=f"{where}evaluation_metric")

    def _compare(self, text: str, reference: str) -> float:
        return self._metric(text, reference)


class _PythonGrader(Grader):
    def __init__(self, spec: schema.Python, limits: Limits, where: str) -> None:
        super().__init__(spec)
        check(spec.source, where=f"{where}source")
        self._sandbox = Sandbox(spec.source, limits)

    def close(self) -> None:
        self._sandbox.close()

    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        answer = self._sandbox.call(sample, item)
        errors: dict[str, object] = {}
        if answer.runtime_error is not None:
            errors["python_grader_runtime_error"] = True
            errors["python_grader_runtime_error_details"] = answer.runtime_error
        if answer.server_error is not None:
            errors["python_grader_server_error"] = True
            errors["python_grader_server_error_type"] = answer.server_error
        return Mark(answer.reward, errors)


class _MultiGrader(Grader):
    """Every sub-grader grades; one that fails counts 0, and its flags stand on the whole."""

    def __init__(self, spec: schema.Multi, limits: Limits, where: str) -> None:
        super().__init__(spec)
        self._formula = Formula(
            spec.calculate_output, list(spec.graders), where=f"{where}calculate_output"
        )
        self._parts = {
            name: _grader(part, limits, f"{where}graders.{name}.")
            for name, part in spec.graders.items()
        }

    def close(self) -> None:
        for part in self._parts.values():
            part.close()

    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        rewards: dict[str, float] = {}
        errors: dict[str, object] = {}
        for name, part in self._parts.items():
            mark = part._safely_mark(sample, item)
            rewards[name] = mark.reward
            for flag, value in mark.errors.items():
                # The first of two texts stays; it says whose it is.
                if isinstance(value, str):
                    errors.setdefault(flag, f"{name}: {value}")
                else:
                    errors[flag] = bool(value) or bool(errors.get(flag))
        try:
            reward = self._formula(rewards)
        except (ArithmeticError, ValueError):
            return Mark(0.0, {**errors, "formula_parse_error": True}, rewards)
        return Mark(reward, errors, rewards)


def _grader(spec: schema.Spec, limits: Limits, where: str) -> Grader:
    match spec:
        case schema.StringCheck():
            return _StringChecker(spec, where)
        case schema.TextSimilarity():
            return _SimilarityGrader(spec, where)
        case schema.Python():
            return _PythonGrader(spec, limits, where)
        case schema.Multi():
            return _MultiGrader(spec, limits, where)
        case _:
            raise GraderError(f"{where}type: {spec.type!r} has no engine")
