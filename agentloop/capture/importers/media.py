"""Content parts that are no tool's: text, images, files and audio, under the names that the Chat
Completions API has for them."""

from collections.abc import Mapping
from typing import Any

from agentloop.base.records import Json


def part(given: Any) -> tuple[Json, str]:
    """A content part, and why it is not one of Chat Completions; empty when it is."""
    if isinstance(given, str):
        return {"type": "text", "text": given}, ""
    if not isinstance(given, Mapping):
        return {"type": "other", "value": given}, f"a content part is an object, not {given!r:.80}"
    kind = str(given.get("type") or given.get("part_kind") or "text")
    text = given.get("text", given.get("content"))
    match kind:
        case "text" | "input_text" | "output_text" | "user-prompt" | "system-prompt" if isinstance(
            text, str
        ):
            return {"type": "text", "text": text}, ""
        case "refusal":
            return {"type": "refusal", "refusal": str(given.get("refusal"))}, ""
        case "image_url" if _link(given.get("image_url")):
            image = given["image_url"]
            return {"type": kind, kind: image if isinstance(image, dict) else {"url": image}}, ""
        case "input_image" if isinstance(given.get("image_url"), str):
            detail = {"detail": given["detail"]} if given.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": given["image_url"], **detail}}, ""
        case "file" | "input_audio" if isinstance(given.get(kind), Mapping):
            return dict(given), ""
        case "input_file" if given.get("file_data") or given.get("file_id"):
            names = ("file_data", "filename", "file_id")
            return {"type": "file", "file": {n: given[n] for n in names if given.get(n)}}, ""
    if url := _picture(given, kind):
        return {"type": "image_url", "image_url": {"url": url}}, ""
    return {"type": kind, **given}, f"a content part of type {kind!r} has no Chat Completions form"


def _link(image: Any) -> bool:
    return isinstance(image, str) or (
        isinstance(image, Mapping) and isinstance(image.get("url"), str)
    )


def _picture(given: Mapping[str, Any], kind: str) -> str | None:
    """The URL of an image that another API was given: Anthropic's and ATIF's `source`,
    OpenTelemetry's `uri` and `blob`, the AI SDK's `image`, Gemini's `inline_data`."""
    source = given.get("source")
    where: Mapping[str, Any] = source if isinstance(source, Mapping) else given
    inline = given.get("inline_data") or given.get("inlineData")
    where = inline if isinstance(inline, Mapping) else where
    names = ("media_type", "mime_type", "mimeType", "mediaType")
    mime = str(next((where[n] for n in names if where.get(n)), ""))
    if not (
        kind in ("image", "image-url") or given.get("modality") == "image" or mime[:6] == "image/"
    ):
        return None
    link = next((where[n] for n in ("url", "uri", "path") if isinstance(where.get(n), str)), None)
    data = next(
        (where[n] for n in ("data", "content", "image") if isinstance(where.get(n), str)), None
    )
    if link:
        return str(link)
    if data and data.startswith(("http://", "https://", "data:")):
        return str(data)
    return f"data:{mime or 'image/png'};base64,{data}" if data else None
