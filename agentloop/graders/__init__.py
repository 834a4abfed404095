"""Graders: OpenAI's grader JSON, run offline. What a reward is, said once, for every provider.

    with compile({"type": "string_check", "operation": "like",
                  "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}) as grader:
        grader.grade("It ships tomorrow.", {"answer": "tomorrow"}).reward    # 1.0

`compile` refuses a wrong grader with one sentence; a compiled grader never raises because of the
data it is given: what went wrong stands on the `Grade`, in OpenAI's error flags, and the reward
is 0. Importing this module loads no similarity library and starts no process.

`calibrate` says how far a grader agrees with people.

Types: `string_check`, `text_similarity`, `python` (in a sandbox of its own), `score_model` and
`label_model` (a judge is asked), `endpoint` (a server is) and `multi`.
"""

from agentloop.graders.calibration import Calibration, Rated, calibrate
from agentloop.graders.endpoint import MOST_BYTES, Server
from agentloop.graders.engine import Grader, compile  # noqa: A004 - compile(spec), as in re
from agentloop.graders.grade import Grade
from agentloop.graders.judge import Address, Judges
from agentloop.graders.sample import sample_of
from agentloop.graders.sandbox import Limits

__all__ = [
    "MOST_BYTES",
    "Address",
    "Calibration",
    "Grade",
    "Grader",
    "Judges",
    "Limits",
    "Rated",
    "Server",
    "calibrate",
    "compile",
    "sample_of",
]
