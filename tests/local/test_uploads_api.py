"""`/v1/uploads`: files in parts, through OpenAI's own client."""

import hashlib
import io
import json
from http.client import HTTPConnection

import openai
import pytest

from agentloop.local.api.uploads import PART
from agentloop.local.disk import uploads
from agentloop.local.disk.uploads import Uploads
from tests.local.parrot import SYSTEM, says, user

BODY = b"".join(
    json.dumps({"messages": [SYSTEM, user("hi"), says(f"Hellö {n}!")]}).encode() + b"\n"
    for n in range(12)
)
SIZE = len(BODY)


def begun(client, bytes=SIZE, **fields):
    given = {"filename": "träin.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    return client.uploads.create(bytes=bytes, **{**given, **fields})


def refused(call, *args, **fields):
    with pytest.raises(openai.BadRequestError) as caught:
        call(*args, **fields)
    return caught.value.body


def test_parts_become_a_file_in_the_order_that_is_asked_for(client):
    made = begun(client, expires_after={"anchor": "created_at", "seconds": 7200})
    assert (made.object, made.status, made.bytes) == ("upload", "pending", len(BODY))
    assert made.expires_at == made.created_at + 3600
    last = client.uploads.parts.create(made.id, data=BODY[100:])
    first = client.uploads.parts.create(made.id, data=BODY[:100])
    assert (first.object, first.upload_id) == ("upload.part", made.id)
    done = client.uploads.complete(
        made.id, part_ids=[first.id, last.id], md5=hashlib.md5(BODY).hexdigest()
    )
    assert done.status == "completed"
    assert client.files.content(done.file.id).read() == BODY
    file = client.files.retrieve(done.file.id)
    assert file == done.file
    assert (file.filename, file.bytes, file.status) == ("träin.jsonl", len(BODY), "processed")
    assert file.expires_at == file.created_at + 7200
    for call in (
        lambda: client.uploads.parts.create(made.id, data=b"x"),
        lambda: client.uploads.cancel(made.id),
        lambda: client.uploads.complete(made.id, part_ids=[first.id]),
    ):
        assert refused(call)["code"] == "invalid_status"
    client.files.delete(file.id)


def test_the_clients_own_helper_works(client):
    done = client.uploads.upload_file_chunked(
        file=io.BytesIO(BODY).getvalue(),
        filename="x.jsonl",
        bytes=len(BODY),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=200,
    )
    assert client.files.content(done.file.id).read() == BODY
    client.files.delete(done.file.id)


def test_what_does_not_fit_together_is_refused_and_can_be_mended(client):
    made = begun(client)
    part = client.uploads.parts.create(made.id, data=BODY).id
    complete = client.uploads.complete
    assert "no part 'part_x'" in refused(complete, made.id, part_ids=["part_x"])["message"]
    assert "no part" in refused(complete, made.id, part_ids=["../upload.json"])["message"]
    assert f"{2 * len(BODY)} bytes" in refused(complete, made.id, part_ids=[part] * 2)["message"]
    wrong = refused(complete, made.id, part_ids=[part], md5="0" * 32)
    assert hashlib.md5(BODY).hexdigest() in wrong["message"]
    done = complete(made.id, part_ids=[part])
    assert done.status == "completed"
    client.files.delete(done.file.id)


def test_rows_are_checked_as_those_of_a_whole_file(client):
    made = begun(client, bytes=3)
    part = client.uploads.parts.create(made.id, data=b"[1]").id
    error = refused(client.uploads.complete, made.id, part_ids=[part])
    assert "Line 1 is not a dictionary" in error["message"]
    assert client.uploads.cancel(made.id).status == "cancelled"
    assert refused(client.uploads.cancel, made.id)["code"] == "invalid_status"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "batch"}, "purpose"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": (512 << 20) + 1}, "bytes"),
        ({"filename": ""}, "filename"),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_at_once(client, fields, param):
    assert refused(begun, client, **fields)["param"] == param


def test_a_part_that_is_too_large_is_refused_before_it_is_read(client, server):
    made = begun(client)
    plain = HTTPConnection(server.url.removeprefix("http://"))
    plain.putrequest("POST", f"/v1/uploads/{made.id}/parts")
    plain.putheader("content-length", str(PART + (2 << 20)))
    plain.putheader("content-type", "multipart/form-data; boundary=x")
    plain.endheaders()
    answer = plain.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"]["code"] == "file_too_large"
    plain.close()
    client.uploads.cancel(made.id)


def test_an_upload_that_is_not_there(client):
    for call in (
        lambda: client.uploads.parts.create("upload_x", data=b"x"),
        lambda: client.uploads.complete("upload_x", part_ids=["part_x"]),
        lambda: client.uploads.cancel("upload_x"),
    ):
        with pytest.raises(openai.NotFoundError, match="No such Upload object: upload_x"):
            call()


class TestOnDisk:
    def test_an_upload_goes_on_after_a_restart(self, tmp_path):
        first = Uploads(tmp_path)
        made = first.add(filename="x", purpose="fine-tune", bytes=3, lifetime=None)
        source = tmp_path / "source"
        source.write_bytes(b"abc")
        part = first.part(made["id"], source, most=3)["id"]
        again = Uploads(tmp_path)
        assert again.get(made["id"]) == made
        again.join(made["id"], [part], tmp_path / "joined", md5=None)
        assert (tmp_path / "joined").read_bytes() == b"abc"

    def test_one_that_is_late_has_expired_and_its_parts_are_gone(self, tmp_path, monkeypatch):
        stored = Uploads(tmp_path)
        made = stored.add(filename="x", purpose="fine-tune", bytes=3, lifetime=None)
        source = tmp_path / "source"
        source.write_bytes(b"abc")
        stored.part(made["id"], source, most=3)
        monkeypatch.setattr(uploads, "now", lambda: made["expires_at"])
        assert stored.get(made["id"])["status"] == "expired"
        assert not list((tmp_path / made["id"]).glob("part_*"))
        Uploads(tmp_path)
        assert not (tmp_path / made["id"]).exists()
