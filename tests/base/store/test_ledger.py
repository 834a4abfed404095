"""The ledger: what was made, from what, and what is live."""

import threading
from typing import Any, cast

import pytest

from agentloop.base.errors import NotFound
from agentloop.base.records import AliasMove, Dataset, Refusal, Refused, Row, State
from agentloop.base.store import Live, Store
from agentloop.base.store import live as lives
from agentloop.base.store.live import NEWS_SECONDS
from tests.makers import a_job, a_row, a_trial, a_version, at, says, user


def a_dataset(*rows, **fields):
    given = {
        "method": "sft",
        "agents": ("support", "billing"),
        "recipe": {"good": 0.8, "where": None},
        "rows": rows or (a_row(user("\ud800\x00"), says(), traces=("t1", "t2")),),
        "valid": (a_row(user("v"), says(), traces=("t3",), split="valid"),),
        "refused": (Refused(code=Refusal.NOT_GOOD, traces=("t4",), detail="\ud800"),),
        "traces_read": 4,
        "considered": 3,
        "grader": {"type": "python", "source": "\x00"},
    }
    return Dataset(**(given | fields))


def move(agent, version, second=0, reason="swap"):
    return AliasMove(agent=agent, version=version, at=at(second), reason=reason)


def test_a_dataset_comes_back_equal(store):
    made = a_dataset()
    store.ledger.put_dataset(made)
    back = store.ledger.dataset(made.id)
    assert back == made
    assert (back.id, back.manifest) == (made.id, made.manifest)
    assert [row.line for row in back.rows] == [row.line for row in made.rows]


def test_rows_keep_their_order_their_nulls_and_the_order_of_their_keys(store):
    bodies = [{"z": None, "a": {"y": None, "b": [None, 2**70]}}, {"messages": [], "n": 1.0}]
    made = a_dataset(*(Row(body=body, note={"n": None}) for body in bodies))
    store.ledger.put_dataset(made)
    assert [row.line for row in store.ledger.dataset(made.id).rows] == [r.line for r in made.rows]


def test_a_dataset_that_is_there_stays_as_it_is(store):
    made = a_dataset()
    store.ledger.put_dataset(made)
    store.ledger.put_dataset(made.model_copy(update={"considered": 99}))
    assert store.ledger.dataset(made.id).considered == 3
    assert len(list(store.ledger.manifests())) == 1


def test_a_trace_knows_which_datasets_learned_from_it(store):
    made, other = a_dataset(), a_dataset(a_row(traces=("t9",)), valid=())
    store.ledger.put_dataset(made)
    store.ledger.put_dataset(other)
    assert store.ledger.learned_from("t2") == (made.id,)
    assert store.ledger.learned_from("t9") == (other.id,)
    assert store.ledger.learned_from("t4") == ()


def test_manifests_say_when_they_were_made(store):
    store.ledger.put_dataset(a_dataset())
    (manifest,) = store.ledger.manifests()
    assert manifest["created_at"] > "2026"
    assert manifest["funnel"] == {"traces": 4, "considered": 3, "kept": 2}


def test_a_job_is_found_by_our_id_and_by_the_providers(store):
    job = a_job(provider_job="ftjob-1")
    store.ledger.put_job(job)
    store.ledger.put_job(job.advance(State.RUNNING))
    assert store.ledger.job("job-1").state is State.RUNNING
    assert store.ledger.job("ftjob-1").id == "job-1"
    assert len(store.ledger.jobs()) == 1


def test_a_version_never_changes(store):
    store.ledger.put_version(a_version())
    store.ledger.put_version(a_version(model="other"))
    assert store.ledger.version("v1").model == "ft:v1"
    assert store.ledger.versions() == (a_version(),)


def test_the_history_of_an_alias_is_only_added_to(store):
    for version in (a_version("v1"), a_version("v2")):
        store.ledger.put_version(version)
    moves = [move("support", "v1", 3), move("billing", "v2", 2), move("support", None, 1, "why")]
    for one in moves:
        store.ledger.move(one)
    assert store.ledger.moves("support") == (moves[0], moves[2])
    assert store.ledger.moves("nobody") == ()
    assert store.ledger.aliases() == {"support": None, "billing": "v2"}


def test_a_trial_goes_on_until_it_is_stopped(store):
    store.ledger.put_trial(a_trial())
    store.ledger.put_trial(a_trial("trial-2", started_at=at(1)))
    store.ledger.put_trial(a_trial(stopped_at=at(9)))
    assert [t.id for t in store.ledger.trials()] == ["trial-1", "trial-2"]
    assert [t.id for t in store.ledger.trials(running=True)] == ["trial-2"]
    assert store.ledger.trial("trial-1").stopped_at == at(9)


def test_a_version_leads_back_to_its_traces(store):
    made, job = a_dataset(), a_job()
    store.ledger.put_dataset(made)
    store.ledger.put_job(job)
    store.ledger.put_version(a_version(job=job.id, dataset=made.id))
    lineage = store.ledger.lineage("v1")
    assert (lineage.job, lineage.dataset) == (job, made.manifest)
    assert lineage.traces == ("t1", "t2", "t3")


def test_a_version_that_was_not_made_here_leads_nowhere(store):
    store.ledger.put_version(a_version())
    assert store.ledger.lineage("v1")[1:] == (None, None, ())


@pytest.mark.parametrize("what", ["dataset", "job", "version", "trial"])
def test_what_is_not_there_is_not_found_and_the_way_to_a_list_is_named(store, what):
    with pytest.raises(NotFound, match=f"no {what} 'nope'; `agentloop "):
        getattr(store.ledger, what)("nope")


# ---------------------------------------------------------------------- what is live


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def test_a_swap_by_another_process_is_known_within_its_second(store, url, clock):
    live = Live(store.ledger, clock=clock)
    assert live.now().aliases == {}
    with Store(url) as other:
        other.ledger.put_version(a_version())
        other.ledger.put_trial(a_trial())
        other.ledger.move(move("support", "v1"))
    clock.seconds += NEWS_SECONDS / 2
    assert live.now().aliases == {}
    clock.seconds += NEWS_SECONDS / 2
    assert live.now().aliases == {"support": "v1"}
    assert [trial.id for trial in live.trials] == ["trial-1"]


def test_who_has_changed_something_looks_at_once(store, clock):
    live = Live(store.ledger, clock=clock).now()
    store.ledger.move(move("support", None))
    live.forget()
    assert live.now().aliases == {"support": None}


def test_while_the_database_is_gone_what_was_known_goes_on(tmp_path, clock, caplog):
    file = tmp_path / "store.db"
    with Store(f"sqlite:///{file}") as store:
        store.ledger.put_version(a_version())
        store.ledger.move(move("support", "v1"))
        live = Live(store.ledger, clock=clock).now()
        store.close()
        file.rename(tmp_path / "away.db")
        (tmp_path / "store.db-wal").unlink(missing_ok=True)
        file.mkdir()
        clock.seconds += NEWS_SECONDS
        assert live.now().aliases == {"support": "v1"}
        assert live.version("v1") == a_version(), "it was read when it went live"
        assert "not known anew" in caplog.text
        file.rmdir()
        (tmp_path / "away.db").rename(file)
        store.ledger.move(move("support", None))
        clock.seconds += NEWS_SECONDS
        assert live.now().aliases == {"support": None}


class Stuck:
    """A ledger that does not answer before the gate is open."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.gate = threading.Event()
        self.asked = 0

    def aliases(self):
        self.asked += 1
        found = self.ledger.aliases()
        assert self.gate.wait(30)
        return found

    def __getattr__(self, name):
        return getattr(self.ledger, name)


def test_no_run_waits_for_a_database_that_does_not_answer(store, clock):
    store.ledger.move(move("support", None))
    ledger = Stuck(store.ledger)
    live = Live(ledger, clock=clock, patience=0.01)
    for _ in range(5):
        assert live.now().aliases == {}, "it returns, though nothing answers"
        clock.seconds += NEWS_SECONDS
    assert ledger.asked == 1, "and nobody asks again meanwhile"
    ledger.gate.set()
    live._looking.join(10)
    assert live.now().aliases == {"support": None}
    live._looking.join(10)  # it has a connection, and the store is about to be closed
    live.close()


def test_an_answer_that_comes_late_does_not_undo_what_was_learned_since(store, clock):
    ledger = Stuck(store.ledger)
    live = Live(ledger, clock=clock, patience=0.01).now()
    late = live._looking
    live._ledger = store.ledger
    store.ledger.move(move("support", None))
    live.forget()
    live.now()
    live._looking.join(10)
    assert live.aliases == {"support": None}
    ledger.gate.set()
    late.join(10)
    assert live.aliases == {"support": None}


def test_one_warning_says_that_the_database_cannot_be_asked(store, clock, caplog):
    live = Live(store.ledger, clock=clock)
    healthy: Any = live._ledger
    live._ledger = cast("Any", None)
    for _ in range(3):
        live.now()
        clock.seconds += NEWS_SECONDS
    assert caplog.text.count("not known anew") == 1
    live._ledger = healthy
    store.ledger.move(move("support", None))
    assert live.now().aliases == {"support": None}


def test_a_process_remembers_so_many_versions_and_no_more(store, monkeypatch):
    monkeypatch.setattr(lives, "KNOWN", 3)
    live = Live(store.ledger)
    for n in range(6):
        store.ledger.put_version(a_version(f"v{n}"))
        live.version(f"v{n}")
        live.version("v0")
    assert [*live._versions] == ["v4", "v5", "v0"]
    assert live.version("v1") == a_version("v1")


def test_a_version_that_nobody_knows_is_not_found(store, clock):
    with pytest.raises(NotFound):
        Live(store.ledger, clock=clock).version("nope")
