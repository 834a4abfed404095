"""Images, files and audio: whole to whoever reads, once on the disk, and a hash and a size wherever
they stand besides."""

import base64
import json

import pytest
from agents import ToolOutputImage, ToolOutputText, function_tool
from sqlalchemy import select
from sqlalchemy import text as sql

from agentloop.base.records import SpanKind
from agentloop.base.records.media import LEAST, references, shelve, size, unshelve
from agentloop.base.records.message import digest
from agentloop.base.store import tables as t
from tests.capture.asking import ask, sent
from tests.capture.server import calls, text
from tests.capture.test_wire import an_agent, check, every_way

BYTES = bytes(range(256)) * 40
PICTURE = "data:image/png;base64," + base64.b64encode(BYTES).decode()
OTHER = "data:image/jpeg;base64," + base64.b64encode(BYTES[::-1]).decode()
PAPER = "data:application/pdf;base64," + base64.b64encode(BYTES[1:]).decode()
SOUND = base64.b64encode(BYTES[2:]).decode()

image = {"type": "input_image", "image_url": PICTURE, "detail": "low"}
file = {"type": "input_file", "filename": "a.pdf", "file_data": PAPER}
audio = {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}


def said(*parts, words="what is it?"):
    return [{"role": "user", "content": [{"type": "input_text", "text": words}, *parts]}]


def on_disk(loop):
    """Everything that the tables hold, unpacked, as one text."""
    with loop.store._database.read() as connection:
        tables = (t.media, t.message, t.call, t.step, t.trace, t.toolset)
        return "".join(
            body for table in tables for body in connection.scalars(select(table.c.body)).all()
        )


@every_way
@pytest.mark.parametrize(
    ("part", "medium", "kind"),
    [(image, PICTURE, "image/png"), (file, PAPER, "application/pdf"), (audio, SOUND, None)],
    ids=["image", "file", "audio"],
)
def test_is_kept_once_and_comes_back_whole(loop, serve, api, stream, part, medium, kind):
    """Said twice, in two runs, over several calls."""
    script = [calls(("look", "{}", "c1")), text("a cat"), text("a cat again")]
    server = serve(*script)

    @function_tool
    def look() -> str:
        """Look closely."""
        return "closely"

    agent = an_agent(tools=[look])
    _, one = ask(loop, server, agent, said(part), api=api, stream=stream)
    _, two = ask(loop, server, agent, said(part, words="and now?"), api=api, stream=stream)
    stored = [*one.calls, *two.calls]
    for call, body in zip(stored, server.bodies, strict=True):
        assert [m.to_dict() for m in call.context] == sent(body)
        assert medium in json.dumps(sent(body))
        assert call.incomplete is None
    assert on_disk(loop).count(medium.rpartition(",")[2]) == 1
    with loop.store._database.read() as connection:
        bodies = connection.scalars(select(t.message.c.body)).all()
        (row,) = connection.execute(select(t.media)).all()
    assert (row.hash, row.body) == (digest(medium.encode()), medium)
    known = {"$media": row.hash, "bytes": size(medium)} | ({"type": kind} if kind else {})
    assert sum(json.dumps(known) in json.dumps(json.loads(body)) for body in bodies) == 2
    assert not list(loop.store.verify())


@every_way
def test_of_a_tool_is_named_in_its_step(loop, serve, api, stream):
    """Chat Completions takes no image from a tool: there the SDK leaves it away, and so do we."""

    @function_tool
    def photo():
        """Take a photo."""
        return [ToolOutputText(text="here"), ToolOutputImage(image_url=PICTURE, detail="low")]

    script = [calls(("photo", "{}", "c1")), text("a cat")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[photo]), "x", api=api, stream=stream)
    check(trace, server, script)
    (step,) = [span for span in trace.spans if span.kind is SpanKind.TOOL]
    assert f"[image/png, {len(BYTES)} bytes, {digest(PICTURE.encode())}]" in step.data["output"]
    assert "here" in step.data["output"]
    times = 1 if api == "responses" else 0
    assert on_disk(loop).count(PICTURE.rpartition(",")[2]) == times


@every_way
def test_that_somebody_else_keeps_is_kept_by_its_address(loop, serve, api, stream):
    script = [text("a cat")]
    server = serve(*script)
    parts = [{"type": "input_image", "image_url": "https://x/cat.png", "detail": "high"}]
    parts += [{"type": "input_file", "file_id": "file-1"}] if api == "responses" else []
    _, trace = ask(loop, server, an_agent(), said(*parts), api=api, stream=stream)
    check(trace, server, script)
    with loop.store._database.read() as connection:
        assert connection.execute(sql("SELECT count(*) FROM media")).scalar() == 0


def test_is_in_the_row_that_is_harvested(loop, serve):
    server = serve(text("a cat"))
    result, _ = ask(loop, server, an_agent(), said(image))
    loop.rate(result.trace_id, "up", by="u")
    (row,) = loop.harvest("sft", agent="support", valid_share=0.0).rows
    assert PICTURE in json.dumps(row.model_dump(mode="json"))


def test_that_is_lost_is_damage(loop, serve):
    _, trace = ask(loop, serve(text("a cat")), an_agent(), said(image))
    with loop.store._database.write() as connection:
        connection.execute(sql("DELETE FROM media"))
    assert any(found.key == trace.id for found in loop.store.verify())


def test_that_was_changed_is_damage(loop, serve):
    ask(loop, serve(text("a cat")), an_agent(), said(image))
    with loop.store._database.write() as connection:
        connection.execute(sql("UPDATE media SET body = 'x'"))
    assert "media" in {found.table for found in loop.store.verify()}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "text " * 1_000,
        PICTURE,
        [{"type": "text", "text": PICTURE}],
        [{"type": "image_url", "image_url": {"url": PICTURE}}] * 2,
        [{"type": "image_url", "image_url": {"url": OTHER, "detail": "low"}}, {"type": "odd"}],
        [{"type": "image_url", "image_url": {"url": "https://x/" + "a" * LEAST}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        [{"type": "image_url", "image_url": {"url": {"mine": 1}}}],
        [{"type": "image_url", "image_url": PICTURE}, {"type": "file", "file": {"file_id": "f"}}],
        [{"type": "file", "file": {"file_data": PAPER, "filename": "ä.pdf"}}],
    ],
)
def test_what_was_shelved_is_restored(content):
    given = {"role": "user", "content": content, "name": "n"}
    said, media = shelve(given)
    assert unshelve(said, media) == given
    assert references(said) == set(media)
    assert all(digest(body.encode()) == hash for hash, body in media.items())
