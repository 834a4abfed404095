"""OpenAI's two inference APIs on this machine, answering from a script."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Event, Thread
from typing import Any


def text(said, **more):
    """The model says something. `more`: `finish`, `refusal`, `reasoning`, `calls`, and `silent` for
    a server that does not answer until it is told to."""
    return {"text": said, **more}


def calls(*asked, **more):
    """The model asks for tools: `(name, arguments, id)`, …; arguments are a JSON text."""
    return {"calls": asked, **more}


def status(code, message="no"):
    """The server refuses."""
    return {"status": code, "message": message}


class Server:
    """Answers each request with the next turn of `script`, whichever API it comes by."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        """What came over the wire: `path`, `headers`, `body`."""
        self.bytes = []
        """The bodies as they came."""
        self.read_on = Event()
        """Set when a stream that hangs may go on."""
        self.numbers = count(1)
        self.url = ""

    @property
    def bodies(self):
        return [request["body"] for request in self.requests]

    def answer(self, path, headers, body):
        """Status, content type and the pieces of the answer."""
        self.requests.append({"path": path, "headers": headers, "body": json.loads(body)})
        self.bytes.append(body)
        body = json.loads(body)
        turn = self.script.pop(0)
        if turn.get("silent"):
            self.read_on.wait(10)
        if "status" in turn:
            error = {"message": turn["message"], "type": "server_error", "code": None}
            return turn["status"], "application/json", [json.dumps({"error": error})]
        n = next(self.numbers)
        make = _response if path.endswith("/responses") else _completion
        whole, events = make(turn, n, body)
        if not body.get("stream"):
            return 200, "application/json", [json.dumps(whole)]
        pieces = [f"data: {json.dumps(event)}\n\n" for event in events]
        if "calls" not in turn and turn.get("hangs"):
            return 200, "text/event-stream", self._hanging(pieces)
        return 200, "text/event-stream", [*pieces, "data: [DONE]\n\n"]

    def _hanging(self, pieces):
        yield pieces[0]
        yield pieces[1]
        self.read_on.wait(10)
        yield from pieces[2:]


@contextmanager
def serving(*script) -> Iterator[Server]:
    """A server that is up while the block runs."""
    double = Server(*script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            code, kind, pieces = double.answer(self.path, dict(self.headers), body)
            self.send_response(code)
            self.send_header("content-type", kind)
            self.end_headers()
            try:
                for piece in pieces:
                    self.wfile.write(piece.encode())
                    self.wfile.flush()
            except OSError:
                pass  # the client has stopped reading

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    double.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        double.read_on.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _completion(turn, n, body):
    message = {"role": "assistant", "content": turn.get("text"), "refusal": turn.get("refusal")}
    if turn.get("reasoning"):
        message["reasoning_content"] = turn["reasoning"]
    if "calls" in turn:
        message["tool_calls"] = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments, id in turn["calls"]
        ]
    finish = turn.get("finish") or ("tool_calls" if "calls" in turn else "stop")
    usage = {
        "prompt_tokens": 10 * n,
        "completion_tokens": turn.get("tokens", 5),
        "total_tokens": 10 * n + turn.get("tokens", 5),
        "prompt_tokens_details": {"cached_tokens": n},
    }
    base = {"id": f"chatcmpl-{n}", "created": 1, "model": f"{body['model']}-2026"}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    whole = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
    deltas: list[Any] = [{"role": "assistant"}]
    deltas += [{"reasoning_content": turn["reasoning"]}] if turn.get("reasoning") else []
    for k, (name, arguments, id) in enumerate(turn.get("calls", ())):
        function = {"name": name, "arguments": ""}
        deltas.append({"tool_calls": [{"index": k, "id": id, "type": "function",
                                       "function": function}]})  # fmt: skip
        half = len(arguments) // 2
        deltas += [
            {"tool_calls": [{"index": k, "function": {"arguments": part}}]}
            for part in (arguments[:half], arguments[half:])
        ]
    said = turn.get("text") or ""
    deltas += [{"content": part} for part in (said[:3], said[3:]) if part]
    deltas += [{"refusal": turn["refusal"]}] if turn.get("refusal") else []
    chunks: list[Any] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    chunks.append({"index": 0, "delta": {}, "finish_reason": finish})
    chunk = {**base, "object": "chat.completion.chunk"}
    events = [{**chunk, "choices": [one]} for one in chunks]
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**chunk, "choices": [], "usage": usage})
    return whole, events


def _response(turn, n, body):
    output = []
    if turn.get("reasoning"):
        summary = [{"type": "summary_text", "text": turn["reasoning"]}]
        output.append({"type": "reasoning", "id": f"rs_{n}", "summary": summary})
    parts = []
    if turn.get("text") is not None:
        parts.append({"type": "output_text", "text": turn["text"], "annotations": []})
    if turn.get("refusal"):
        parts.append({"type": "refusal", "refusal": turn["refusal"]})
    if parts:
        output.append({"type": "message", "id": f"msg_{n}", "role": "assistant",
                       "status": "completed", "content": parts})  # fmt: skip
    for name, arguments, id in turn.get("calls", ()):
        output.append({"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": name,
                       "arguments": arguments, "status": "completed"})  # fmt: skip
    output += turn.get("items", [])
    tokens = turn.get("tokens", 5)
    usage = {
        "input_tokens": 10 * n,
        "input_tokens_details": {"cached_tokens": n, "cache_write_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 10 * n + tokens,
    }
    ended = turn.get("finish", "completed")
    whole = {
        "id": f"resp_{n}",
        "object": "response",
        "created_at": 1,
        "model": f"{body['model']}-2026",
        "status": ended,
        "incomplete_details": {"reason": "max_output_tokens"} if ended == "incomplete" else None,
        "error": {"code": "server_error", "message": "broke"} if ended == "failed" else None,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
    begun = {**whole, "output": [], "status": "in_progress", "usage": None}
    events: list[Any] = [{"type": "response.created", "response": begun},
              {"type": "response.in_progress", "response": begun}]  # fmt: skip
    for k, item in enumerate(output):
        events += [
            {"type": f"response.output_item.{what}", "output_index": k, "item": item}
            for what in ("added", "done")
        ]
    events.append({"type": f"response.{ended}", "response": whole})
    return whole, [{**event, "sequence_number": k} for k, event in enumerate(events)]
