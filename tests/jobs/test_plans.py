"""Plans: what a job would do and cost, and what the provider would refuse."""

import pytest

from agentloop.base.errors import ConfigError, ProviderBusy
from agentloop.base.records import Dataset, Method, Row, State
from agentloop.jobs import plan, provider, watch
from agentloop.jobs.openai import OpenAI
from tests.jobs.test_openai import a_record

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}


def a_dataset(method=Method.SFT, n=20, body=ROW, valid=0, **fields):
    return Dataset(
        method=method,
        agents=("support",),
        recipe={},
        rows=[Row(body=body, traces=(f"t{k}",)) for k in range(n)],
        valid=[Row(body=body, split="valid") for _ in range(valid)],
        **fields,
    )


def refusals(dataset, at="local", **options):
    return plan(dataset, provider(at), base="m", **options).refusals


def test_a_plan_counts_rows_and_tokens_and_asks_nobody():
    made = plan(a_dataset(), OpenAI("http://nowhere.invalid/v1"), base="gpt-4.1-2025-04-14")
    assert (made.rows, made.dataset, made.refusals) == (20, a_dataset().id, ())
    assert made.tokens == 20 * len(Row(body=ROW).line) // 4
    assert made.usd == pytest.approx(25.0 * made.tokens * 5 / 1e6, abs=1e-4)


def test_tokens_that_the_harvest_has_counted_are_not_estimated():
    counted = [Row(body=ROW, note={"tokens": 10 + n}) for n in range(20)]
    dataset = a_dataset().but(rows=tuple(counted), recipe={"tokenizer": "gpt-4.1"})
    made = plan(dataset, provider("openai"), base="gpt-4.1-2025-04-14")
    assert made.tokens == sum(range(10, 30))
    assert made.notes[-1].startswith("tokens are as the harvest counted them for gpt-4.1;")


def test_tokens_that_were_counted_of_some_rows_only_are_estimated():
    some = [Row(body=ROW, note={"tokens": 10}), Row(body=ROW)]
    made = plan(a_dataset().but(rows=tuple(some)), provider("openai"), base="gpt-4.1-2025-04-14")
    assert made.tokens == 2 * len(Row(body=ROW).line) // 4
    assert "tokens are an estimate, 4 bytes each" in made.notes[-1]


def test_what_is_not_known_to_cost_something_is_not_said_to_cost_nothing():
    assert plan(a_dataset(), provider("openai"), base="gpt-9").usd is None
    assert plan(a_dataset(), provider("local"), base="anything").usd == 0.0


def test_too_few_rows_are_refused_before_they_are_uploaded():
    (refusal,) = refusals(a_dataset(n=9))
    assert refusal.startswith("9 training rows, local wants at least 10; gather more")


def test_a_method_that_a_provider_does_not_offer_is_refused():
    dataset = a_dataset(Method.RFT, valid=1, grader={"type": "string_check"})
    assert refusals(dataset, "openai") == ("openai does not offer rft; it offers sft, dpo",)


def test_an_unknown_hyperparameter_is_refused_with_those_there_are():
    (refusal,) = refusals(a_dataset(), hyperparameters={"epochs": 3})
    assert refusal == (
        "sft has no hyperparameter 'epochs'; it has n_epochs, batch_size, learning_rate_multiplier"
    )


def test_reinforcement_wants_validation_rows_and_a_grader():
    assert len(refusals(a_dataset(Method.RFT))) == 2
    assert refusals(a_dataset(Method.RFT, valid=1), grader={"type": "string_check"}) == ()


def test_a_grader_that_a_provider_has_not_is_refused():
    grader = {"type": "multi", "graders": {"a": {"type": "endpoint"}}}
    found = refusals(a_dataset(Method.RFT, valid=1), "openai", grader=grader)
    assert "openai has no grader of type 'endpoint'" in found


@pytest.mark.parametrize(
    "parts",
    [{"a": {"type": "lambda"}}, [{"type": "lambda"}], {"type": "lambda"}],
    ids=["by name", "a list", "one alone"],
)
def test_the_parts_of_a_multi_grader_may_stand_in_each_published_shape(parts):
    grader = {"type": "multi", "graders": parts}
    (refusal,) = refusals(a_dataset(Method.RFT, valid=1), grader=grader)
    assert refusal == "local has no grader of type 'lambda'"


def test_pairs_of_tool_calls_are_refused_where_the_provider_does_not_take_them():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    body = {
        "input": {"messages": []},
        "preferred_output": [call],
        "non_preferred_output": [{"role": "assistant", "content": "x"}],
    }
    dataset = a_dataset(Method.DPO, body=body)
    assert refusals(dataset, "openai") == (
        "20 pairs compare tool calls, which openai does not take",
    )
    assert refusals(dataset, "local") == ()


def test_an_unknown_provider_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigError, match="no provider 'acme'; known: local, openai"):
        provider("acme")


class Scripted:
    """A provider that says what it is told to, one look after the other."""

    def __init__(self, *looks):
        self._looks = list(looks)

    def refresh(self, job):
        look = self._looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return job.advance(look, tuned_model="ft" if look is State.SUCCEEDED else None)

    def events(self, job, *, after=0):
        return []


def watched(*looks, patience=10.0):
    clock = iter(range(1_000))
    seen = watch(
        a_record(),
        Scripted(*looks),
        patience=patience,
        wait=lambda _: None,
        clock=lambda: float(next(clock)),
    )
    return [one.job.state for one in seen]


def test_a_job_is_watched_to_its_end():
    assert watched(State.QUEUED, State.RUNNING, State.SUCCEEDED)[-1] is State.SUCCEEDED


def test_a_provider_that_restarts_is_waited_for():
    gone = ProviderBusy("gone")
    assert watched(State.RUNNING, gone, gone, State.SUCCEEDED) == [State.RUNNING, State.SUCCEEDED]


def test_a_provider_that_stays_away_ends_the_watch_and_not_the_job():
    with pytest.raises(ProviderBusy, match="gone"):
        watched(State.RUNNING, *[ProviderBusy("gone")] * 50, patience=5.0)
