"""The engine ray: the same rows and refusals as the local one, whoever dies on the way."""

import json
import os
import signal

import pytest
from typer.testing import CliRunner

ray = pytest.importorskip("ray", reason="the extra `scale` is not installed")

from agentloop import scale  # noqa: E402
from agentloop.base.errors import ConfigError, EmptyHarvest, ExpressionError  # noqa: E402
from agentloop.base.records.message import digest  # noqa: E402
from agentloop.harvest import Redactor, write  # noqa: E402
from agentloop.harvest.pipeline import Line  # noqa: E402
from agentloop.harvest.redaction import Patterns  # noqa: E402
from agentloop.loop import AgentLoop  # noqa: E402
from agentloop.scale import engine  # noqa: E402
from agentloop.ui.cli import app  # noqa: E402
from tests.traffic import RECIPES, fill  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two worker processes, for all tests here."""
    with scale.cluster(2):
        yield


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    with AgentLoop(f"sqlite:///{tmp_path_factory.mktemp('store')}/loop.db") as loop:
        fill(loop.store)
        yield loop


def in_whole(folder, manifest, name):
    """What the shards of one kind hold together."""
    entry = {"rows.meta": "meta"}.get(name, name)
    files = [one[entry] for one in manifest["shards"]]
    names = [file if isinstance(file, str) else file["file"] for file in files]
    return b"".join((folder / file).read_bytes() for file in names)


def same(local, folder, manifest):
    """Both engines have written the same; but for where a row stands, in the same order."""
    ours = json.loads((local / "manifest.json").read_text())
    assert {k: v for k, v in manifest.items() if k != "shards"} == ours
    for name in ("train", "valid", "refused"):
        assert in_whole(folder, manifest, name) == (local / f"{name}.jsonl").read_bytes(), name
    said = [json.loads(line) for line in in_whole(folder, manifest, "rows.meta").splitlines()]
    for meta in said:
        lines = (folder / meta["file"]).read_text().splitlines()
        assert Line.of_meta(lines[meta["line"] - 1], meta).row.line_sha == meta["sha256"]
    return ours


@pytest.mark.parametrize("name", RECIPES)
def test_parts_of_a_store_give_the_rows_of_the_whole(loop, tmp_path, name):
    recipe = loop.recipe(name.split()[0], agent="support", **RECIPES[name])
    loop.harvest_to(tmp_path / "local", recipe.method, agent="support", **RECIPES[name])
    source = scale.StoreParts(loop.database_url, size=4)
    manifest = scale.run(tmp_path / "ray", recipe, source)
    ours = same(tmp_path / "local", tmp_path / "ray", manifest)
    assert len(manifest["shards"]) > 2
    assert ours["rows"]["train"] > 2
    assert ours["refused"]


@pytest.mark.parametrize("name", RECIPES)
def test_parquet_files_give_the_rows_of_the_store_they_were_written_from(loop, tmp_path, name):
    scale.export(loop.judged(), tmp_path / "traces", in_a_file=9)
    recipe = loop.recipe(name.split()[0], agent="support", **RECIPES[name])
    loop.harvest_to(tmp_path / "local", recipe.method, agent="support", **RECIPES[name])
    source = scale.ParquetParts(tmp_path / "traces", size=10)
    manifest = scale.run(tmp_path / "ray", recipe, source)
    same(tmp_path / "local", tmp_path / "ray", manifest)


@pytest.mark.parametrize("method", ["sft", "dpo", "rft"])
def test_parts_of_a_postgresql_store_give_the_rows_of_the_whole(postgres_url, tmp_path, method):
    knobs = RECIPES[method]
    with AgentLoop(postgres_url) as loop:
        fill(loop.store)
        recipe = loop.recipe(method, agent="support", **knobs)
        loop.harvest_to(tmp_path / "local", method, agent="support", **knobs)
        manifest = scale.run(tmp_path / "ray", recipe, scale.StoreParts(postgres_url, size=7))
    same(tmp_path / "local", tmp_path / "ray", manifest)


def test_workers_find_the_test_set_and_the_tokenizer_by_name(loop, tmp_path):
    pytest.importorskip("bpe_openai")
    test = tmp_path / "test.jsonl"
    test.write_text('"where is 1? I am u1@work.org"\n')
    named = {"against": test, "tokenizer": "gpt-4.1"}
    knobs = {"agent": "support", "good": 0.0, "max_tokens": 55, **named}
    recipe = loop.recipe("sft", **knobs)
    loop.harvest_to(tmp_path / "local", "sft", **knobs)
    source = scale.StoreParts(loop.database_url, size=10)
    manifest = scale.run(tmp_path / "ray", recipe, source, **named)
    ours = same(tmp_path / "local", tmp_path / "ray", manifest)
    assert ours["refused"]["contaminated"]
    assert ours["refused"]["too_long"]
    assert ours["tokens"]["train"] > 0
    with pytest.raises(ConfigError, match="against cannot be made again by workers"):
        scale.run(tmp_path / "ray", recipe, source)


class Dying(scale.StoreParts):
    """Kills the worker that reads a part for the first time, half-way through it."""

    def __init__(self, url, marks, **options):
        super().__init__(url, **options)
        self._marks = marks

    def found(self, part, recipe):
        for n, item in enumerate(super().found(part, recipe)):
            mark = self._marks / digest(repr(part).encode())
            if n == 1 and len(list(self._marks.iterdir())) < 3 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield item


def test_what_a_killed_worker_did_is_done_again_and_once(loop, tmp_path):
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Dying"]))
    (tmp_path / "marks").mkdir()
    recipe = loop.recipe("sft", agent="support", good=0.5)
    loop.harvest_to(tmp_path / "local", "sft", agent="support", good=0.5)
    source = Dying(loop.database_url, tmp_path / "marks", size=8)
    manifest = scale.run(tmp_path / "ray", recipe, source)
    assert len(list((tmp_path / "marks").iterdir())) == 3, "three workers were killed"
    same(tmp_path / "local", tmp_path / "ray", manifest)


def test_a_shard_written_twice_is_the_same_and_there_once(loop, tmp_path):
    recipe = loop.recipe("sft", agent="support", good=0.5)
    blocks = engine._in_order(scale.StoreParts(loop.database_url, size=20).drafts(recipe))
    told = engine._decide(blocks, recipe)
    block = ray.get(blocks[0])
    one, two = (engine._write_shard(block, told, 0, 1, tmp_path) for _ in range(2))
    assert one == two
    assert len(list(tmp_path.iterdir())) == 4


def test_the_ledger_has_a_sharded_harvest_as_it_has_another(loop, tmp_path):
    recipe = loop.recipe("sft", agent="support", good=0.9)
    manifest = scale.run(tmp_path / "ray", recipe, scale.StoreParts(loop.database_url, size=9))
    scale.write_down(tmp_path / "ray", manifest, loop.ledger, as_of=loop.ledger.point())
    stored = loop.ledger.dataset(manifest["dataset"])
    local = loop.harvest("sft", agent="support", good=0.9)
    assert (stored.id, stored.rows, stored.valid) == (local.id, local.rows, local.valid)
    assert list(loop.store.verify()) == []


def test_a_sharded_harvest_takes_the_place_of_a_local_one(loop, tmp_path):
    write(loop.harvest("sft", agent="support"), tmp_path / "d")
    recipe = loop.recipe("sft", agent="support")
    scale.run(tmp_path / "d", recipe, scale.StoreParts(loop.database_url, size=30))
    names = {path.name for path in (tmp_path / "d").iterdir()}
    assert "manifest.json" in names
    assert "train.jsonl" not in names
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_nothing_to_harvest_is_the_same_error(loop, tmp_path):
    source = scale.StoreParts(loop.database_url, size=30)
    recipe = loop.recipe("sft", agent="support", where="user == 'nobody'")
    with pytest.raises(EmptyHarvest, match=r"most often \(\d+\): filtered"):
        scale.run(tmp_path / "ray", recipe, source)
    assert list(tmp_path.iterdir()) == []


def test_a_condition_that_names_no_outcome_is_found_before_any_work(loop, tmp_path):
    recipe = loop.recipe("sft", agent="support", where="outcome.resolvd")
    with pytest.raises(ExpressionError, match="resolved"):
        scale.run(tmp_path / "ray", recipe, scale.StoreParts(loop.database_url))


class Mine(Patterns):
    name = "mine"


def test_a_redactor_that_workers_cannot_make_is_refused(loop, tmp_path):
    recipe = loop.recipe("sft", agent="support", redact=Redactor([Mine()]))
    with pytest.raises(ConfigError, match="workers know"):
        scale.run(tmp_path / "ray", recipe, scale.StoreParts(loop.database_url))


def test_the_command_line_harvests_on_ray_from_a_store_and_from_parquet(loop, tmp_path):
    def run(*arguments):
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    store = ("--store", loop.database_url)
    parquet, harvest = str(tmp_path / "parquet"), ("harvest", "sft", "support", "--out")
    local = run(*harvest, str(tmp_path / "local"), *store)
    assert run("traces", "export", parquet, "--format", "parquet", *store)["traces"] == 90
    on_ray = run(*harvest, str(tmp_path / "ray"), "--engine", "ray", *store)
    from_files = run(*harvest, str(tmp_path / "files"), "--engine", "ray", "--from", parquet)
    here = run(*harvest, str(tmp_path / "here"), "--workers", "2", *store)
    assert on_ray["dataset"] == from_files["dataset"] == local["dataset"] == here["dataset"]
    result = CliRunner().invoke(app, [*harvest, "d", "--from", parquet])
    assert "goes with --engine ray" in result.stderr
