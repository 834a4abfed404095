"""Pieces of an answer become the items of a response, and the events that tell of them."""

from collections.abc import Iterator, Sequence

from agentloop.base.records import Json
from agentloop.local.disk.ids import fresh
from agentloop.local.inference.reading import Called, Piece, Said, Thought


class Items:
    """The output of one response as it grows. Events lack their numbers; the caller has those."""

    def __init__(self) -> None:
        self.done: list[Json] = []
        """Items that are complete, in their order."""
        self._open: Json | None = None
        """The message or thought that is being written."""
        self._odds: list[Json] = []
        """Of text that has not come yet."""

    def take(self, pieces: Sequence[Piece], odds: Sequence[Json] = ()) -> Iterator[Json]:
        """More of the answer; the events that it makes."""
        self._odds += odds
        for piece in pieces:
            match piece:
                case Said(text):
                    yield from self._write("message", text)
                case Thought(text):
                    yield from self._write("reasoning", text)
                case Called():
                    yield from self.close()
                    yield from self._call(piece)

    def close(self, status: str = "completed") -> Iterator[Json]:
        """Whatever is being written is `completed` or `incomplete`."""
        item, self._open = self._open, None
        if item is None:
            return
        (part,) = item["content"]
        if item["type"] == "message" and self._odds:
            part["logprobs"] += self._odds
            self._odds = []
        name = "output_text" if item["type"] == "message" else "reasoning_text"
        where = self._where(item)
        told = {"logprobs": part["logprobs"]} if item["type"] == "message" else {}
        yield {"type": f"response.{name}.done", **where, "text": part["text"], **told}
        yield {"type": "response.content_part.done", **where, "part": dict(part)}
        item["status"] = status
        yield self._item_done(item)

    def _write(self, kind: str, text: str) -> Iterator[Json]:
        if self._open is not None and self._open["type"] != kind:
            yield from self.close()
        if self._open is None:
            yield from self._begin(kind)
        item = self._open
        assert item is not None  # noqa: S101 - begun above
        (part,) = item["content"]
        part["text"] += text
        told: Json = {}
        if kind == "message":
            part["logprobs"] += self._odds
            told, self._odds = {"logprobs": self._odds}, []
        name = "output_text" if kind == "message" else "reasoning_text"
        yield {"type": f"response.{name}.delta", **self._where(item), "delta": text, **told}

    def _begin(self, kind: str) -> Iterator[Json]:
        item: Json
        part: Json
        if kind == "message":
            item = {"type": "message", "id": fresh("msg_", 24), "role": "assistant"}
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        else:
            item = {"type": "reasoning", "id": fresh("rs_", 24), "summary": []}
            part = {"type": "reasoning_text", "text": ""}
        item |= {"status": "in_progress", "content": []}
        yield self._item_added(item)
        yield {"type": "response.content_part.added", **self._where(item), "part": dict(part)}
        item["content"] = [part]
        self._open = item

    def _call(self, piece: Called) -> Iterator[Json]:
        item = {
            "type": "function_call",
            "id": fresh("fc_", 24),
            "call_id": fresh("call_"),
            "name": piece.name,
            "arguments": "",
            "status": "in_progress",
        }
        yield self._item_added(item)
        where = {"item_id": item["id"], "output_index": len(self.done)}
        name = "response.function_call_arguments"
        yield {"type": f"{name}.delta", **where, "delta": piece.arguments}
        item |= {"arguments": piece.arguments, "status": "completed"}
        yield {
            "type": f"{name}.done",
            **where,
            "name": piece.name,
            "arguments": piece.arguments,
        }
        yield self._item_done(item)

    def _where(self, item: Json) -> Json:
        return {"item_id": item["id"], "output_index": len(self.done), "content_index": 0}

    def _item_added(self, item: Json) -> Json:
        return {
            "type": "response.output_item.added",
            "output_index": len(self.done),
            "item": dict(item),
        }

    def _item_done(self, item: Json) -> Json:
        at = len(self.done)
        self.done.append(item)
        return {"type": "response.output_item.done", "output_index": at, "item": item}
