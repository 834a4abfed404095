"""The engine without HTTP: several models, too little memory, models that go or cannot come."""

import threading

import pytest

from agentloop.local.disk.models import Model
from agentloop.local.inference.engine import Engine
from tests.local.parrot import KNOWN, TOOLS


class Ear:
    """Remembers what it hears, and in what order all ears heard of their ends."""

    ends: list[str] = []

    def __init__(self, name=""):
        self.name, self.text, self.finish, self.error = name, "", None, None
        self.over = threading.Event()

    def say(self, text, odds=()):
        self.text += text

    def close(self, finish):
        self.finish = finish
        self.ends.append(self.name)
        self.over.set()

    def fail(self, error):
        self.error = error
        self.over.set()


@pytest.fixture
def engine():
    running = Engine(max_batch=4, threads=1)
    running.start()
    assert running.wait(60)
    Ear.ends.clear()
    yield running
    running.close()


@pytest.fixture
def model(base):
    def named(name, weights=base):
        return Model(id=name, created=1, owned_by="local", base=name, weights=weights)

    return named


def generation(dialect, model, ear, talk=KNOWN[0], room=90):
    from agentloop.local.inference.lane import Generation
    from agentloop.local.inference.sampling import Sampling
    from agentloop.local.inference.transcript import Transcript

    return Generation(
        model,
        dialect.prompt(talk[:-1], TOOLS).ids,
        Sampling(0),
        room,
        transcript=Transcript(dialect.tokenizer),
        listener=ear,
        streamed=True,
    )


def ask(engine, model, talk=KNOWN[0], room=90):
    ear = Ear(model.id)
    engine.submit(generation(engine.dialect(model), model, ear, talk, room))
    return ear


def heard(ear):
    assert ear.over.wait(60)
    return ear.text


def test_models_are_served_in_turn(engine, model):
    ears = [ask(engine, model(name), KNOWN[5]) for name in "aaaabbbb"]
    assert {heard(ear) for ear in ears} == {KNOWN[5][-1]["content"]}
    # Neither waited for the other to be through.
    assert set(Ear.ends[:5]) == {"a", "b"}


def test_models_that_find_no_room_make_it(base, model):
    small = Engine(memory=1, threads=1)
    small.start()
    for name in "abab":
        assert heard(ask(small, model(name))) == "Hello! How can I help?"
    assert list(small._lanes) == ["b"]
    small.close()


def test_more_than_a_batch_wait_for_their_turn(engine, model):
    ears = [ask(engine, model("a")) for _ in range(11)]
    assert {heard(ear) for ear in ears} == {"Hello! How can I help?"}


def test_a_model_that_cannot_be_loaded_fails_its_requests_alone(engine, model, base, tmp_path):
    import shutil

    shutil.copytree(base, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"broken")
    broken = ask(engine, model("broken", tmp_path / "m"))
    assert broken.over.wait(60)
    assert broken.error is not None
    assert heard(ask(engine, model("a"))) == "Hello! How can I help?"


def test_what_a_deleted_model_was_writing_is_failed(engine, model):
    ear = ask(engine, model("a"), KNOWN[5])
    engine.forget("a")
    assert ear.over.wait(60)
    assert ear.finish == "stop" or "deleted" in str(ear.error)


def test_closing_fails_what_is_unfinished(base, model):
    engine = Engine(max_batch=1, threads=1)
    engine.start()
    ears = [ask(engine, model("a"), KNOWN[5]) for _ in range(20)]
    engine.close()
    assert all(ear.over.wait(10) for ear in ears)
    assert "shutting down" in str(ears[-1].error)


def test_a_pass_that_fails_fails_all_who_were_in_it_and_nobody_after(engine, model, monkeypatch):
    from agentloop.local.inference.batch import Batch

    def broken(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "_forward", broken)
        ears = [ask(engine, model("a")) for _ in range(3)]
        assert all(ear.over.wait(60) for ear in ears)
    assert {str(ear.error) for ear in ears} == {"out of memory"}
    assert heard(ask(engine, model("a"))) == "Hello! How can I help?"


def test_a_prompt_waits_some_steps_for_others_and_no_longer(model):
    from agentloop.local.inference.dialect import Dialect
    from agentloop.local.inference.lane import PATIENCE, Lane

    one = model("a")
    dialect = Dialect(one.weights)
    lane = Lane(one, dialect, max_batch=3 * PATIENCE)

    def come(number):
        for _ in range(number):
            lane.add(generation(dialect, one, Ear(), room=90))

    def turns_until(running):
        turns = 0
        while len(lane._batch.runs) < running:
            lane.turn()
            turns += 1
            assert turns <= 2 * PATIENCE
        return turns

    come(PATIENCE - 1)
    turns_until(PATIENCE - 1)
    come(1)
    assert turns_until(PATIENCE) == 1, "few are being answered: there is no reason to wait"
    come(1)
    assert turns_until(PATIENCE + 1) == PATIENCE
    come(PATIENCE)
    assert turns_until(2 * PATIENCE + 1) == 1, "they need not wait for more"
