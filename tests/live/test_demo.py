"""The demo's story at its smallest: the whole loop on the real stack, with real training."""

import asyncio
import json
import re

import agents
import pytest

from agentloop import AgentLoop, Settings
from agentloop.base.errors import ConfigError
from agentloop.local.tiny import NAME
from agentloop.ui.cli.demo import _as_json, _begin_anew
from agentloop.ui.demo.customer import better, likes
from agentloop.ui.demo.requests import HELD_OUT, LEARNING, SEASONS, requests
from agentloop.ui.demo.shop import Shop
from agentloop.ui.demo.story import Scale, Story

SMALLEST = Scale(
    first=44,
    second=22,
    again=2,
    held_out=33,
    trial=22,
    corrections=4,
    put_right=8,
    rows={"sft": 60, "dpo": 30, "rft": 20},
    hyperparameters={"sft": {"n_epochs": 2}, "dpo": {"n_epochs": 1}, "rft": {"n_epochs": 1}},
)


class Listener:
    """A narrator that remembers."""

    def __init__(self):
        self.said = []

    def chapter(self, title):
        self.said.append(title)

    def say(self, text):
        self.said.append(text)

    def counting(self, label, total):
        from contextlib import nullcontext

        return nullcontext(lambda: None)

    def follow(self, job, label):
        job.wait()
        self.said.append(f"{label}: {job.state}")

    def funnel(self, dataset):
        self.said.append(f"{dataset.method}: {dataset.funnel}")

    def advice(self, advice):
        self.said.append(f"advice: {advice.says}")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_the_story_is_played_to_its_end_on_the_real_stack(tmp_path, provider_url):
    agents.set_trace_processors([])
    settings = Settings(local_url=provider_url, spill_dir=tmp_path)
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=settings) as loop:
        listener = Listener()
        ending = asyncio.run(Story(loop, SMALLEST, listener, NAME).play())
        told = _as_json(ending)
        jobs = loop.ledger.jobs()
        versions = {version.id: version for version in loop.ledger.versions()}
        names = loop.store.names()
        lineage = [loop.lineage(id) for id in versions]

    assert {"support", "billing"} <= set(names.agents), "the handoff was made and captured"
    assert told["models"][0]["name"] == "base"
    assert {job.state.value for job in jobs} == {"succeeded"}
    for line in told["models"][1:]:
        assert line["gate"] in ("open", "closed")
        assert versions[line["version"]].model == line["model"]
    for one in lineage:
        assert one.job.tuned_model == one.version.model
        assert len(one.traces) >= 10
    json.dumps(told)


def test_learning_and_held_out_requests_share_no_sentence():
    learned = {said for seasons in LEARNING.values() for season in seasons for said in season}
    assert len(learned) == sum(len(season) for seasons in LEARNING.values() for season in seasons)
    assert not learned & {said for sentences in HELD_OUT.values() for said in sentences}
    assert LEARNING.keys() == HELD_OUT.keys()
    assert {len(seasons) for seasons in LEARNING.values()} == {SEASONS}


@pytest.mark.parametrize("season", range(1, SEASONS + 1))
def test_half_of_a_season_is_in_its_own_words_and_the_rest_in_those_of_earlier_ones(season):
    asked = requests(1100, seed=5, season=season)
    texts = [request.text.lower() for request in asked]

    def used(said):
        return sum(bool(re.fullmatch(filled(said), text)) for text in texts)

    for seasons in LEARNING.values():
        counts = [[used(said) for said in words] for words in seasons]
        *earlier, own = counts[:season]
        assert all(min(words) > 0 for words in (*earlier, own))
        assert not any(any(words) for words in counts[season:])
        if earlier:
            assert sum(own) == pytest.approx(sum(map(sum, earlier)), abs=50)


def filled(sentence):
    """A pattern for `sentence` with its slots filled."""
    pattern = re.escape(sentence.lower())
    return pattern.replace(r"\{o\}", "[a-z]?-?[0-9]+").replace(r"\{c\}", "[a-z]+")


def test_requests_are_the_same_for_the_same_seed_and_others_for_another():
    assert requests(20, seed=1) == requests(20, seed=1)
    assert requests(20, seed=1) != requests(20, seed=2)


@pytest.mark.parametrize("request_", requests(11, seed=3), ids=lambda r: r.operation)
def test_a_request_is_resolved_by_its_operation_and_by_nothing_else(request_):
    with Shop([request_.order]) as shop:
        assert not request_.resolved(shop)
        getattr(shop, request_.operation)(**request_.arguments)
        assert request_.resolved(shop)
        shop.cancel_order(request_.order.id)
        shop.refund_order(request_.order.id, "late")
        assert not request_.resolved(shop)


@pytest.mark.parametrize("request_", requests(11, seed=4), ids=lambda r: r.operation)
def test_a_customer_likes_what_she_would_have_written(request_):
    assert likes(better(request_), request_)
    assert not likes(f"Thank you so very much for waiting. {better(request_)}", request_)
    assert not likes("Done.", request_)


def test_a_folder_of_somebody_else_is_not_begun_anew(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not the demo's"):
        _begin_anew(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    _begin_anew(tmp_path / "new")
    (tmp_path / "new" / "old").touch()
    _begin_anew(tmp_path / "new")
    assert not (tmp_path / "new" / "old").exists()
