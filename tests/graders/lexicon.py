"""A WordNet of a few words, in the files that nltk reads: METEOR without the real one."""

from collections.abc import Iterable
from pathlib import Path

KINDS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def write(folder: Path, **senses: Iterable[tuple[str, ...]]) -> None:
    """Write the files of a lexicon into `folder`: `noun=[("cat", "feline")]` are synonyms.

    The format is that of WordNet's manual pages wndb(5WN) and senseidx(5WN).
    """
    folder.mkdir(parents=True)
    (folder / "lexnames").write_text("00\tall\t1\n")
    (folder / "index.sense").write_text("")
    for kind, letter in KINDS.items():
        data, index = "  1 WordNet 3.0 Copyright is not on this one\n", dict[str, list[int]]()
        for words in senses.get(kind, ()):
            offset = len(data)
            said = " ".join(f"{word} 0" for word in words)
            frames = " 00" if kind == "verb" else ""
            line = f"{offset:08} 00 {letter} {len(words):02x} {said} 000{frames} | a gloss"
            data += f"{line}  \n"
            for word in words:
                index.setdefault(word, []).append(offset)
        (folder / f"data.{kind}").write_text(data)
        lines = [
            f"{word} {letter} {len(at)} 0 {len(at)} 0 {' '.join(f'{one:08}' for one in at)}  \n"
            for word, at in sorted(index.items())
        ]
        (folder / f"index.{kind}").write_text("".join(lines))
        (folder / f"{kind}.exc").write_text("")
    for file in (folder, *folder.iterdir()):
        file.chmod(file.stat().st_mode & ~0o022)  # nltk trusts no data that others may write
