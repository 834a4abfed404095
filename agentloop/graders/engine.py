"""The engine: a grader's JSON becomes an object that grades."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from uuid import uuid4

from agentloop.base.errors import GraderError
from agentloop.base.records import Json
from agentloop.graders import schema
from agentloop.graders.endpoint import Asked
from agentloop.graders.formula import Formula
from agentloop.graders.grade import NO_ERRORS, Grade
from agentloop.graders.judge import Address, Judge, Judges, Said
from agentloop.graders.sample import sample_of
from agentloop.graders.sandbox import Limits, Sandbox, check
from agentloop.graders.similarity import metric
from agentloop.graders.templates import Template, Unresolved

Sample = Mapping[str, Any] | str
"""What the model answered: the `sample` namespace, or just the text of the answer."""


AT_ONCE = 16
"""Samples that are graded at once by graders that ask others."""


def compile(
    spec: Mapping[str, Any], *, limits: Limits | None = None, judges: Judges | None = None
) -> "Grader":
    """The grader that `spec` describes, ready to grade.

    Args:
        spec: OpenAI's grader JSON: `string_check`, `text_similarity`, `python`, `score_model`,
            `label_model`, `endpoint` or `multi`.
        limits: what a python grader may use; OpenAI's limits when absent.
        judges: where the models of score_model and label_model are asked; as the environment says
            when absent (`Address.of_environment`).

    Raises:
        GraderError: the grader is wrong; the one sentence names the field and the way out.
    """
    means = _Means(limits or Limits(), judges or Address.of_environment)
    return _grader(schema.read(spec), means, "")


class _Means(NamedTuple):
    """What graders are given to work with."""

    limits: Limits
    judges: Judges


class Mark(NamedTuple):
    """What one type of grader makes of one sample."""

    reward: float
    errors: Mapping[str, object] = MappingProxyType({})
    sub_rewards: Mapping[str, float] = MappingProxyType({})
    usage: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    """Model -> tokens that judging took."""
    judge: str | None = None
    """The model that judged, as its server calls it; of several the last."""


class Grader(ABC):
    """A compiled grader. `close` it, or use `with`: a python grader keeps a process.

    It may be used from several threads; python graders then take turns.
    """

    def __init__(self, spec: schema.Spec) -> None:
        self.name = spec.name
        self.type = spec.type
        self.spec: Json = spec.model_dump(mode="json", exclude_none=True)
        """The grader in canonical JSON: a multi's sub-graders as an object by name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    asks = False
    """Whether it waits for others, and several samples had better be graded at once."""

    @property
    def unready(self) -> str | None:
        """Why it cannot grade here, such as a judge that nobody knows where to ask; None: it can.
        A grader that is not ready still grades: with 0, and a flag that says so."""
        return None

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
            usage={model: dict(used) for model, used in mark.usage.items()},
            judge=mark.judge,
        )

    def grade_many(self, pairs: Iterable[tuple[Sample, Mapping[str, Any] | None]]) -> list[Grade]:
        """One grade for each `(sample, item)`, in their order."""
        pairs = list(pairs)
        if not self.asks or len(pairs) < 2:
            return [self.grade(sample, item) for sample, item in pairs]
        with ThreadPoolExecutor(min(AT_ONCE, len(pairs))) as pool:
            return list(pool.map(lambda pair: self.grade(*pair), pairs))

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


class _JudgedGrader(Grader):
    """What a judge says of a sample, as a reward."""

    asks = True

    def __init__(
        self, spec: schema.ScoreModel | schema.LabelModel, judges: Judges, where: str
    ) -> None:
        super().__init__(spec)
        self._passing = frozenset(spec.passing_labels if spec.type == "label_model" else ())
        self._judge = Judge(spec, judges, where=where)

    @property
    def unready(self) -> str | None:
        return self._judge.unready

    def close(self) -> None:
        self._judge.close()

    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        said = self._judge.ask({"sample": sample, "item": item})
        value = said.value
        reward = value if isinstance(value, float) else float(value in self._passing)
        return Mark(reward, _flags(said), usage=_used(said), judge=said.model)


def _flags(said: Said) -> dict[str, object]:
    if said.flag is None:
        return {}
    details = {"model_grader_server_error_details": said.details} if said.details else {}
    return {said.flag: True, **details}


def _used(said: Said) -> dict[str, Mapping[str, int]]:
    return {} if said.usage is None or said.model is None else {said.model: said.usage}


class _EndpointGrader(Grader):
    """A server's score."""

    asks = True

    def __init__(self, spec: schema.Endpoint) -> None:
        super().__init__(spec)
        self._server = Asked(spec)

    def close(self) -> None:
        self._server.close()

    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        trace = sample.get("trace_id") or f"trace_{uuid4().hex}"
        score = self._server.score(sample, item, str(trace))
        return Mark(score) if isinstance(score, float) else Mark(0.0, {score: True})


class _MultiGrader(Grader):
    """Every sub-grader grades; one that fails counts 0, and its flags stand on the whole."""

    def __init__(self, spec: schema.Multi, means: _Means, where: str) -> None:
        super().__init__(spec)
        self._formula = Formula(
            spec.calculate_output, list(spec.graders), where=f"{where}calculate_output"
        )
        self._parts = {
            name: _grader(part, means, f"{where}graders.{name}.")
            for name, part in spec.graders.items()
        }
        self.asks = any(part.asks for part in self._parts.values())

    @property
    def unready(self) -> str | None:
        return next((why for part in self._parts.values() if (why := part.unready)), None)

    def close(self) -> None:
        for part in self._parts.values():
            part.close()

    def _mark(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Mark:
        rewards: dict[str, float] = {}
        errors: dict[str, object] = {}
        usage: dict[str, dict[str, int]] = {}
        judge: str | None = None
        for name, part in self._parts.items():
            mark = part._safely_mark(sample, item)
            rewards[name] = mark.reward
            judge = mark.judge or judge
            for model, used in mark.usage.items():
                sums = usage.setdefault(model, dict.fromkeys(used, 0))
                for kind, tokens in used.items():
                    sums[kind] += tokens
            for flag, value in mark.errors.items():
                # The first of two texts stays; it says whose it is.
                if isinstance(value, str):
                    errors.setdefault(flag, f"{name}: {value}")
                else:
                    errors[flag] = bool(value) or bool(errors.get(flag))
        try:
            reward = self._formula(rewards)
        except (ArithmeticError, ValueError):
            return Mark(0.0, {**errors, "formula_parse_error": True}, rewards, usage, judge)
        return Mark(reward, errors, rewards, usage, judge)


def _grader(spec: schema.Spec, means: _Means, where: str) -> Grader:
    match spec:
        case schema.StringCheck():
            return _StringChecker(spec, where)
        case schema.TextSimilarity():
            return _SimilarityGrader(spec, where)
        case schema.Python():
            return _PythonGrader(spec, means.limits, where)
        case schema.ScoreModel() | schema.LabelModel():
            return _JudgedGrader(spec, means.judges, where)
        case schema.Endpoint():
            return _EndpointGrader(spec)
        case schema.Multi():
            return _MultiGrader(spec, means, where)
        case _:
            raise GraderError(f"{where}type: {spec.type!r} has no engine")
