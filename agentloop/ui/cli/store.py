"""`agentloop store`: is what was stored still what it was, and how large is it."""

import typer

from agentloop.ui.cli.output import AsJson, StoreUrl, document, opened, out, say, table

store = typer.Typer(no_args_is_help=True, help="Look after the store.")


@store.command()
def verify(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Derive every hash of the conversation tree and of datasets anew and follow every reference;
    exit status 1 when something is damaged.

    Example: agentloop store verify --json
    """
    with opened(store) as loop:
        checked = {name: size.rows for name, size in loop.store.stats().tables.items()}
        damage = list(loop.store.verify())
        name = loop.store.name
    if as_json:
        found = [one._asdict() for one in damage]
        document({"store": name, "sound": not damage, "checked": checked, "damage": found})
    elif damage:
        table(("table", "key", "what is wrong"), damage)
    else:
        told = ", ".join(f"{checked[what]} {what}s" for what in ("message", "node", "call"))
        out.print(f"{name} is sound: {told}, {checked['trace']} traces")
    if damage:
        say(
            f"error: {len(damage)} things are damaged; restore {name} from a backup, or import "
            "those traces again"
        )
        raise typer.Exit(1)


@store.command()
def stats(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """How large the store is, and what the conversation tree saves.

    Example: agentloop store stats
    """
    with opened(store) as loop:
        found, name = loop.store.stats(), loop.store.name
    stored = found.tables["message"].rows
    if as_json:
        tables = {what: size._asdict() for what, size in found.tables.items()}
        told = {"messages_seen": found.seen, "messages_stored": stored}
        document({"store": name, "bytes": found.bytes, **told, "tables": tables})
        return
    out.print(f"{name}: {_size(found.bytes)}")
    out.print(f"{found.seen} messages in model calls, each stored once: {stored}")
    rows = [(what, size.rows, _size(size.content)) for what, size in found.tables.items()]
    table(("table", "rows", "content"), [row for row in rows if row[1]])


def _size(count: float) -> str:
    """A number of bytes in words, e.g. `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
