"""Webhooks: signed as OpenAI's client wants them, tried until they are taken, one id for each."""

import json
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from agentloop.base.errors import ConfigError
from agentloop.local.disk.jobs import Jobs, Status
from agentloop.local.queue.courier import SECRET, URL, Courier, Webhook
from tests.local.serving import served, until, upload
from tests.local.test_disk import a_job

KEY = "whsec_" + b64encode(b"only for tests, of 32 bytes 1234").decode()


class Receiver:
    """A receiver on loopback that answers as it is told, the last answer for ever."""

    def __init__(self, *answers):
        self.requests, told = [], list(answers)
        came = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                came.append((dict(self.headers), body))
                self.send_response(told.pop(0) if len(told) > 1 else told[0])
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def came(self, n):
        """The first `n` requests, once they have come."""
        until(lambda: len(self.requests) >= n, f"{n} webhooks", seconds=30)
        return self.requests[:n]


@pytest.fixture
def receiver():
    made = []

    def make(*answers):
        made.append(Receiver(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def courier():
    made = []

    def make(jobs, url, *waits):
        webhook = Webhook.of({URL: url, SECRET: KEY})
        made.append(Courier(jobs, webhook, waits=waits))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path, tell=True)
    made.add(a_job(id="ftjob-1"), {})
    return made


def unwrapped(request):
    headers, body = request
    client = openai.OpenAI(api_key="none", webhook_secret=KEY)
    return client.webhooks.unwrap(body, headers)


@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLED])
def test_the_end_of_a_job_is_told_and_openais_client_takes_it(jobs, receiver, courier, end):
    there = receiver(200)
    courier(jobs, there.url)
    jobs.advance("ftjob-1", end)
    (request,) = there.came(1)
    event = unwrapped(request)
    assert event.type == f"fine_tuning.job.{end}"
    assert event.data.id == "ftjob-1"
    assert event.id == request[0]["webhook-id"]
    assert event.id.startswith("evt_")
    assert set(json.loads(request[1])) == {"id", "object", "created_at", "type", "data"}
    until(lambda: not jobs.owing(), "it to be settled")
    assert "owed" not in jobs.get("ftjob-1").wire


def test_one_that_was_forged_is_not_taken(jobs, receiver, courier):
    there = receiver(200)
    courier(jobs, there.url)
    jobs.advance("ftjob-1", Status.FAILED)
    (request,) = there.came(1)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrapped((request[0], request[1].replace(b"ftjob-1", b"ftjob-2")))


def test_what_is_not_taken_is_tried_again_under_the_same_id(jobs, receiver, courier):
    there = receiver(500, 302, 200)
    courier(jobs, there.url, 0, 0, 0)
    jobs.advance("ftjob-1", Status.FAILED)
    events = [unwrapped(request) for request in there.came(3)]
    assert len({event.id for event in events}) == 1
    until(lambda: not jobs.owing(), "it to be settled")
    assert len(there.requests) == 3


def test_what_is_owed_survives_a_restart(tmp_path, jobs, receiver, courier):
    busy = receiver(503)
    first = courier(jobs, busy.url, 3600)
    jobs.advance("ftjob-1", Status.FAILED)
    busy.came(1)
    until(lambda: jobs.owing()[0][1].tries == 1, "it to be put off")
    first.close()
    again = Jobs(tmp_path, tell=True)
    ((_, owed),) = again.owing()
    # An hour later: time is told by the record.
    again.change("ftjob-1", owed=owed.model_copy(update={"due": 0}))
    there = receiver(204)
    courier(again, there.url)
    (request,) = there.came(1)
    assert request[0]["webhook-id"] == busy.requests[0][0]["webhook-id"]
    until(lambda: Jobs(tmp_path).get("ftjob-1").owed is None, "it to be settled on disk")


def test_after_the_last_try_it_is_given_up_and_the_job_says_so(jobs, receiver, courier):
    there = receiver(500)
    courier(jobs, there.url, 0)
    jobs.advance("ftjob-1", Status.FAILED)
    until(lambda: jobs.events("ftjob-1"), "a word of it")
    (event,) = jobs.events("ftjob-1")
    assert event["level"] == "warn"
    assert event["message"] == "The webhook was given up: the receiver answered 500"
    assert len(there.requests) == 2
    assert not jobs.owing()


def test_a_server_tells_whom_its_environment_names(tmp_path, base, receiver, monkeypatch):
    there = receiver(200)
    monkeypatch.setenv(URL, there.url)
    monkeypatch.setenv(SECRET, KEY)
    with served(tmp_path, {"parrot": base}, warm=False) as server, server.client() as client:
        few = upload(client, [{"messages": []}])
        job = client.fine_tuning.jobs.create(model="parrot", training_file=few)
        (request,) = there.came(1)
    event = unwrapped(request)
    assert (event.type, event.data.id) == ("fine_tuning.job.failed", job.id)


def test_nothing_is_owed_where_nobody_asks(tmp_path):
    jobs = Jobs(tmp_path)
    jobs.add(a_job(id="ftjob-1"), {})
    assert jobs.advance("ftjob-1", Status.FAILED).owed is None


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({URL: "http://x"}, f"{SECRET} is not"),
        ({SECRET: KEY}, f"{URL} is not"),
        ({URL: "x", SECRET: KEY}, "http or https"),
        ({URL: "http://x", SECRET: "whsec_%"}, "whsec_ and then the key in base64"),
        ({URL: "http://x", SECRET: "abcd"}, "whsec_ and then the key in base64"),
    ],
)
def test_half_a_setting_is_refused_with_the_other_half(environment, part):
    with pytest.raises(ConfigError, match=part):
        Webhook.of(environment)
    assert Webhook.of({}) is None
