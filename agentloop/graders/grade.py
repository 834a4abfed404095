"""What a grader says about one sample: a reward, its parts, and everything that went wrong."""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field

from agentloop.base.records import Json, Record

NO_ERRORS: Mapping[str, object] = MappingProxyType(
    {
        "formula_parse_error": False,
        "sample_parse_error": False,
        "truncated_observation_error": False,
        "unresponsive_reward_error": False,
        "invalid_variable_error": False,
        "other_error": False,
        "python_grader_server_error": False,
        "python_grader_server_error_type": None,
        "python_grader_runtime_error": False,
        "python_grader_runtime_error_details": None,
        "model_grader_server_error": False,
        "model_grader_server_error_details": None,
        "model_grader_refusal_error": False,
        "model_grader_parse_error": False,
    }
)
"""OpenAI's error flags, none raised: `openai.types.fine_tuning.alpha.GraderRunResponse`."""


class Grade(Record):
    """One sample, graded."""

    reward: float = Field(allow_inf_nan=False)
    """Always finite. In [0, 1] for string_check and text_similarity; whatever the author's
    function or formula gives for python and multi; 0 where an error made it unknown."""

    sub_rewards: dict[str, float] = {}
    """The reward of each sub-grader of a multi, by name; empty for the other types."""

    errors: dict[str, object] = Field(default_factory=lambda: dict(NO_ERRORS))
    """OpenAI's error flags, all of them: bools, and for three of them a text or None."""

    seconds: float = 0.0
    """Wall time that grading took."""

    usage: dict[str, dict[str, int]] = {}
    """Model that judged -> `prompt_tokens`, `completion_tokens`, `total_tokens`."""

    judge: str | None = None
    """The model that judged, as its server calls it."""

    @property
    def failed(self) -> bool:
        """Whether any error flag is raised: then the reward says nothing about the sample."""
        return any(value is True for value in self.errors.values())

    @property
    def _tokens(self) -> int | None:
        return sum(used["total_tokens"] for used in self.usage.values()) if self.usage else None

    def to_response(self, *, name: str, type: str) -> Json:
        """The answer of `POST /v1/fine_tuning/alpha/graders/run`, for a grader so named."""
        return {
            "reward": self.reward,
            "metadata": {
                "name": name,
                "type": type,
                "errors": dict(self.errors),
                "execution_time": self.seconds,
                "scores": {},
                "token_usage": self._tokens,
                "sampled_model_name": self.judge,
            },
            "sub_rewards": dict(self.sub_rewards),
            "model_grader_token_usage_per_model": {m: dict(used) for m, used in self.usage.items()},
        }
