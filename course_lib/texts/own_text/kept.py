"""What was read of a folder, kept in the cache, so that only files that have changed are read again."""

import contextlib
import json
import time
from functools import cache
from hashlib import sha256
from pathlib import Path

from course_lib.storage import cache_folder, write_atomically
from course_lib.texts.own_text.files import Source
from course_lib.texts.own_text.passages import Passage
from course_lib.texts.own_text.report import Remark

LARGEST = 2**26  # bytes of text in a folder; more is read anew each time
_TICK = 0.1  # seconds: a file that is younger may change again without another time of change


def private_folder(name: str = "own-text") -> Path:
    """A folder in the cache that only its owner can read, because what is in it comes from private texts."""
    folder = cache_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class Kept:
    """What was read of the files of one path: {file: [stamp, rows of passages, whether it was read whole, remarks]}.

    path, column, unit: as in `own_text.load`.
    A file is known by its size and its times of change; the whole is forgotten when the course reads otherwise.
    """

    def __init__(self, path: str | Path, column: str | None, unit: str | None):
        known_by = [_readers(), str(path), str(Path(path).resolve()), column, unit]
        name = sha256(repr(known_by).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.path, self.began = private_folder() / f"read-{name}.json", time.time()
        try:
            self.known = dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.known = {}  # absent or damaged
        self.now, self.changed = {}, False

    def find(self, source: Source) -> tuple[list[Passage], bool, list[Remark], list[Remark]] | None:
        """The passages of a file that has not changed, whether it was read whole, skips and notes; else None."""
        entry = self.known.get(source.name)
        if entry is None or entry[0] != list(source.stamp):
            return None
        self.now[source.name] = entry
        _, rows, whole, skipped, notes = entry
        passages = [Passage.restored(*row, file=source.name) for row in rows]
        return passages, whole, [Remark(*row) for row in skipped], [Remark(*row) for row in notes]

    def add(self, source: Source, passages: list[Passage], whole: bool, skipped: list, notes: list) -> None:
        """Keep what was read of a file, unless it was written just now; the others as `find` gives them."""
        self.changed = True
        if source.changed_at < self.began - _TICK:
            rows = [[str(p)[: len(p) - len(p.text)], p.text, p.heading, p.line] for p in passages]
            self.now[source.name] = [list(source.stamp), rows, whole, skipped, notes]

    def save(self) -> None:
        """Write what is new; a cache that cannot be written is no reason to stop."""
        if self.changed or self.now.keys() != self.known.keys():
            with contextlib.suppress(OSError):
                write_atomically(self.path, json.dumps(self.now))


@cache
def _readers():
    """A key of the code that reads, so that a new version reads again."""
    digest = sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
