"""`/v1/files`, through OpenAI's own client."""

import io
import json
import time

import httpx2
import openai
import pytest

from tests.local.parrot import SYSTEM, says, user
from tests.local.serving import upload

ROW = {"messages": [SYSTEM, user("hi"), says("Hellö!")]}
LINE = json.dumps(ROW).encode()


def refused(kind, call, *args, **options):
    with pytest.raises(kind) as caught:
        call(*args, **options)
    return caught.value.body


def test_a_file_comes_back_as_it_was_sent(client):
    body = LINE + b"\n" + LINE
    made = client.files.create(file=("träin.jsonl", io.BytesIO(body)), purpose="fine-tune")
    assert (made.filename, made.bytes, made.purpose) == ("träin.jsonl", len(body), "fine-tune")
    assert made.status == "processed"
    assert client.files.retrieve(made.id) == made
    assert client.files.wait_for_processing(made.id) == made
    assert client.files.content(made.id).read() == body
    assert client.files.delete(made.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        error = refused(openai.NotFoundError, call, made.id)
        assert error["message"] == f"No such File object: {made.id}"


def test_lists_come_in_pages_newest_first(client):
    made = [upload(client, [ROW]) for _ in range(5)]
    page = client.files.list(limit=2)
    assert [file.id for file in page.data] == made[:2:-1]
    assert page.has_more
    following = client.files.list(limit=2, after=page.data[-1].id)
    assert [file.id for file in following.data] == made[2:0:-1]
    assert [file.id for file in client.files.list(order="asc")][-5:] == made
    assert all(file.purpose == "fine-tune" for file in client.files.list(purpose="fine-tune"))
    assert client.files.list(purpose="assistants").data == []
    assert refused(openai.BadRequestError, client.files.list, after="file-x")["param"] == "after"
    for id in made:
        client.files.delete(id)


def test_a_large_file_is_taken_in_one_go(client):
    body = (LINE + b"\n") * 40_000
    made = client.files.create(file=("big.jsonl", body), purpose="fine-tune")
    assert made.bytes == len(body) > 4_000_000
    client.files.delete(made.id)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "File is empty"),
        (b"\n\n", "File is empty"),
        (b"[1]\n" + LINE, 'Line 1 is not a dictionary (HINT: line starts with: "[1]'),
        (b'{\n "messages": []\n}', "every line is a JSON dictionary"),
        (b"\xef\xbb\xbf" + LINE, "Line 1 is not a dictionary"),
        (b"\xff\xfe{}", "Line 1 is not a dictionary"),
        (b"prompt,completion\na,b", "Line 1 is not a dictionary"),
    ],
)
def test_what_is_no_jsonl_is_refused(client, body, part):
    error = refused(
        openai.BadRequestError, client.files.create, file=("x.jsonl", body), purpose="fine-tune"
    )
    assert part in error["message"]


def test_a_later_broken_line_is_said_on_the_file(client):
    body = LINE + b"\n{oops\n"
    made = client.files.create(file=("x.jsonl", body), purpose="fine-tune")
    assert made.status == "error"
    assert made.status_details.startswith("Invalid file format. Example 2 cannot be parsed.")


def test_a_purpose_that_is_not_there_is_refused(client):
    error = refused(
        openai.BadRequestError, client.files.create, file=("x.jsonl", LINE), purpose="batch"
    )
    assert error["param"] == "purpose"


def test_missing_and_unknown_parts_are_named(server):
    url = f"{server.url}/v1/files"
    file = {"file": ("x.jsonl", LINE)}
    for data, files, param in (
        ({"purpose": "fine-tune"}, None, "file"),
        ({}, file, "purpose"),
        ({"purpose": "fine-tune", "colour": "red"}, file, "colour"),
        ({"purpose": "fine-tune", "file": "text"}, None, "file"),
    ):
        answer = httpx2.post(url, data=data, files=files)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


def test_a_long_text_in_a_form_is_not_kept_in_memory(server):
    text = {"purpose": "x" * (5 << 20)}
    answer = httpx2.post(f"{server.url}/v1/files", data=text, files={"file": ("x.jsonl", LINE)})
    assert answer.status_code == 400
    assert "texts of the form are longer than" in answer.json()["error"]["message"]


def test_a_file_may_have_a_time_to_live(client):
    made = client.files.create(
        file=("x.jsonl", LINE),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.expires_at == made.created_at + 3600 > time.time()
    error = refused(
        openai.BadRequestError,
        client.files.create,
        file=("x.jsonl", LINE),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 5},
    )
    assert error["param"] == "expires_after"
