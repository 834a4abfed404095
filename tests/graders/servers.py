"""Servers on loopback that answer as a test says."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from agentloop.base.records import Json
from agentloop.graders import Address


class Scripted:
    """Answers every request with what `answer` makes of its body: a JSON object, or a status and
    one. What was asked, and with which headers, is there to look at."""

    def __init__(self, answer: Callable[[Json], Json | tuple[int, Json]]) -> None:
        self.asked: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self._lock = Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                with server._lock:
                    server.asked.append(body)
                    server.headers.append({k.lower(): v for k, v in self.headers.items()})
                said = answer(body)
                status, said = said if isinstance(said, tuple) else (200, said)
                sent = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def judges(self, model: str) -> Address:
        """All models are asked here."""
        return Address(f"{self.url}/v1", "sk-of-the-judge")

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def judged(content: str | None, **message: object) -> Json:
    """A chat completion that says `content`."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge-1-2026",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
