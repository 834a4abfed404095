"""Graders that ask a model of the server's own, by its API and in a job, with the server's key."""

import openai
import pytest

from tests.local.parrot import SYSTEM, user
from tests.local.serving import events, finished, served, upload

SAMPLING = {"temperature": 0, "max_completions_tokens": 40}
JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": "parrot",
    "input": [{"role": "user", "content": "How good is {{sample.output_text}}?"}],
    "sampling_params": SAMPLING,
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, base):
    """A server that wants a key, and knows no judges but its own models."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("OPENAI_API_KEY", "AGENTLOOP_JUDGE_API_KEY", "AGENTLOOP_JUDGE_BASE_URL"):
            environment.delenv(name, raising=False)
        folder = tmp_path_factory.mktemp("guarded")
        with served(folder, {"parrot": base}, key="sesame") as running:
            yield running


@pytest.fixture
def keyed(guarded):
    with guarded.client(api_key="sesame") as client:
        yield client


def test_a_model_of_the_server_is_asked_here_and_its_tokens_are_told(keyed):
    said = keyed.fine_tuning.alpha.graders.run(grader=JUDGE, model_sample="yes", item={})
    assert said.metadata.errors.model_grader_server_error is False
    assert said.metadata.sampled_model_name == "parrot"
    used = said.api_model_grader_token_usage_per_model["parrot"]
    assert said.metadata.token_usage == used["total_tokens"] > 0
    assert 0.0 <= said.reward <= 1.0


def test_more_graders_than_threads_for_them_wait_for_each_other_and_end(keyed):
    from concurrent.futures import ThreadPoolExecutor

    def run(n):
        return keyed.fine_tuning.alpha.graders.run(grader=JUDGE, model_sample=f"{n}", item={})

    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(run, range(12)))
    assert not any(one.metadata.errors.model_grader_server_error for one in said)


def test_a_job_whose_judge_nobody_knows_is_refused_before_it_begins(keyed):
    row = {"messages": [{**SYSTEM, "role": "developer"}, user("flip")]}
    file = upload(keyed, [row])
    method = {"type": "reinforcement", "reinforcement": {"grader": {**JUDGE, "model": "gpt-9"}}}
    with pytest.raises(openai.BadRequestError, match=r"gpt-9.*nobody to ask") as refused:
        keyed.fine_tuning.jobs.create(
            model="parrot", training_file=file, validation_file=file, method=method
        )
    assert refused.value.param == "method.reinforcement.grader"


def test_a_job_asks_the_server_that_trains_it(keyed):
    row = {"messages": [{**SYSTEM, "role": "developer"}, user("flip")]}
    file = upload(keyed, [row] * 2)
    numbers = {"n_epochs": 1, "batch_size": 2, "compute_multiplier": 0.01, "eval_samples": 1}
    section = {"grader": JUDGE, "hyperparameters": numbers}
    job = keyed.fine_tuning.jobs.create(
        model="parrot",
        training_file=file,
        validation_file=file,
        method={"type": "reinforcement", "reinforcement": section},
        seed=7,
    )
    job = finished(keyed, job.id)
    assert job.status == "succeeded", job.error
    for event in events(keyed, job.id):
        if event.type == "metrics":
            assert "model_grader_server_error" not in event.data["train_grader_errors"]
