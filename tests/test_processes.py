"""Several processes of one machine give the rows of one, byte for byte."""

import pytest

from agentloop import scale
from agentloop.base.errors import ConfigError, EmptyHarvest, ExpressionError
from agentloop.harvest import Redactor
from agentloop.harvest.redaction import Patterns
from agentloop.loop import AgentLoop
from agentloop.scale import processes
from tests.traffic import RECIPES, fill

NOTHING = scale.names(None, None)


@pytest.fixture
def loop(url, monkeypatch):
    monkeypatch.setattr(processes, "IN_A_PART", 11)
    with AgentLoop(url) as loop:
        fill(loop.store)
        yield loop


def harvested(loop, folder, recipe):
    return scale.run_here(folder, recipe, loop.database_url, loop.ledger, workers=2, named=NOTHING)


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_give_the_files_of_one(loop, tmp_path, name):
    knobs = RECIPES[name]
    method = name.split()[0]
    recipe = loop.recipe(method, agent="support", **knobs)
    manifest = harvested(loop, tmp_path / "two", recipe)
    loop.harvest_to(tmp_path / "one", method, agent="support", **knobs)
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    stored = loop.ledger.dataset(manifest["dataset"])
    assert stored.manifest == manifest


def test_what_cannot_be_harvested_is_the_same_error(loop, tmp_path):
    with pytest.raises(EmptyHarvest, match="filtered"):
        harvested(loop, tmp_path / "d", loop.recipe("sft", agent="support", where="user == 'x'"))
    with pytest.raises(ExpressionError, match="resolved"):
        harvested(loop, tmp_path / "d", loop.recipe("sft", agent="support", where="outcome.x"))
    mine = loop.recipe("sft", agent="support", redact=Redactor([Mine()]))
    with pytest.raises(ConfigError, match="cannot be made again"):
        harvested(loop, tmp_path / "d", mine)
    assert not (tmp_path / "d").exists()


class Mine(Patterns):
    name = "mine"
