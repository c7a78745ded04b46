"""What is read from the files of installed packages, under which names, and what links them."""

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import filelock
import psutil
import pytest

from course_lib.texts import harvest, python_docs
from course_lib.texts.python_docs import PythonDocs

PUBLIC = """
    numpy.argsort numpy.sum numpy.linalg.svd numpy.ndarray.sort scipy.stats.pearsonr scipy.linalg.svd
    scipy.optimize.minimize pandas.merge pandas.DataFrame.merge pandas.DataFrame.groupby pandas.Series.str.split
    sklearn.cluster.KMeans sklearn.model_selection.train_test_split matplotlib.axes.Axes.plot networkx.shortest_path
    networkx.Graph.add_edge sympy.solve sympy.integrate sympy.Symbol torch.argsort torch.nn.Linear torch.optim.Adam
    torch.nn.functional.cross_entropy torch.utils.data.DataLoader transformers.AutoTokenizer transformers.Trainer
    datasets.load_dataset datasets.Dataset.map collections.Counter datetime.timedelta decimal.Decimal
    decimal.Decimal.sqrt asyncio.gather asyncio.Queue os.path.join json.dumps
    """.split()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_document_has_the_name_that_a_user_writes(docs, name):
    assert docs[name].text


def test_names_are_unique_and_documents_sorted(docs):
    names = [d.name for d in docs.documents]
    assert len(set(names)) == len(names) and names == sorted(names)


def test_every_library_is_there(docs):
    assert {d.library for d in docs.documents} == set(harvest.LIBRARIES)
    assert len(docs) > 25_000


def test_private_names_are_the_minority(docs):
    private = [d for d in docs.documents if not harvest.is_public(d.name)]
    assert 0 < len(private) < 0.25 * len(docs)
    assert not harvest.is_public("torch._inductor.ir.Buffer") and harvest.is_public("numpy.linalg.svd")


def test_see_also_links_known_documents(docs):
    links = [(d.name, n) for d in docs.documents for n in d.see_also]
    assert len(links) > 4_000
    assert all(n in docs.by_name and n != name for name, n in links)
    assert "numpy.argpartition" in docs["numpy.argsort"].see_also


def test_see_also_is_cut_from_every_text():
    """A class, a function and a module with a See Also section, read as a package's file is read."""
    body = (
        "\n\nSee Also\n--------\nother : The zebra that is not to be found in any text.\n"
        "\nNotes\n-----\nThis is kept for us.\n"
    )
    source = f'"""The module of a test.{body}"""\n' + "".join(
        f'{kind} it{i}:\n    """The thing number {i} of this test.{textwrap.indent(body, "    ")}"""\n'
        for i, kind in enumerate(("class", "def"), 1)
    ).replace("def it2:", "def it2():")
    for node in [ast.parse(source), *ast.parse(source).body[1:]]:
        doc = harvest.parse_docstring(ast.get_docstring(node, clean=False))
        assert doc.see_also == ["other"]
        assert "zebra" not in str([doc.summary, doc.description, doc.details]) and "kept for us" in str(doc.description)


def test_real_see_also_text_is_in_no_document(docs):
    """numpy.argsort's own See Also says what `lexsort` does; nothing of that is in its text."""
    import numpy

    section = numpy.argsort.__doc__.split("See Also")[1].split("Notes")[0]
    assert "Indirect stable sort with multiple keys" in section
    assert "multiple keys" not in docs["numpy.argsort"].text


def write_package(folder):
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from .inner import *\nfrom . import inner\nfrom ._core import Table as Frame\n"
    )
    (folder / "inner" / "__init__.py").write_text("from .. import _core\nfrom .._core import count, circle\n")
    (folder / "_core.py").write_text(
        textwrap.dedent('''
        """The core of the package that the test has written."""
        from .inner import circle  # imports may go in a circle

        def count(x):
            """Count the words of a text, one by one."""

        def _hidden(x):
            """This one is not for the users of it."""

        class Table:
            """A table with named columns and rows."""

            def merge(self, other):
                """Merge this table with the other one by a key."""

        def late(): ...
        late.__doc__ = """A docstring that is assigned after the definition."""
        ''')
    )


def test_names_follow_imports(tmp_path, monkeypatch):
    write_package(tmp_path / "lib")
    monkeypatch.setattr(harvest, "library_folder", lambda library: tmp_path / "lib")
    names = [d.name for d in harvest.harvest(["lib"], progress=False, processes=1)]
    assert names == sorted(["lib._core", "lib.count", "lib.Frame", "lib.Frame.merge", "lib._core.late"])


# --------------------------------------------------------------------------- in several processes

ROOT = Path(__file__).parents[2]


def start(code, cache):
    """Start a script without `if __name__ == "__main__"` in a process group of its own, as a terminal does."""
    script = cache / "script.py"
    script.write_text(code)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=cache,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_an_unguarded_script_harvests(tmp_path):
    code = (
        "import multiprocessing\nmultiprocessing.set_start_method('spawn')  # as on macOS and Windows\n"
        "from course_lib.texts.harvest import harvest\nprint(len(harvest(['datasets'], False, processes=2)))\n"
    )
    output, errors = start(code, tmp_path).communicate(timeout=120)
    assert int(output) > 300 and errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent to a process group")
@pytest.mark.parametrize("files", [0, 1], ids=["while the workers start", "while they read"])
def test_ctrl_c_stops_the_harvest(tmp_path, files):
    """The workers would need half a minute for all libraries; all that is left is the user's own KeyboardInterrupt."""
    code = (
        "import os\nos.cpu_count = lambda: 2\n"
        "from course_lib.texts import python_docs\n"
        "try:\n    python_docs.load()\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    process, errors = start(code, tmp_path), b""
    while not re.search(rb"[1-9]\d*/\d+ \[" if files else rb"\b0/\d+ \[", errors):
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, errors
        errors += piece
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGINT)
    output, rest = process.communicate(timeout=20)
    errors += rest
    assert output == b"interrupted\n" and process.returncode == 0
    assert int(re.findall(rb"(\d+)/\d+ \[", errors)[-1]) < 3_000, "the harvest went on"
    assert b"Traceback" not in errors and b"arning" not in errors, errors.decode()
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert {p.suffix for p in tmp_path.iterdir()} <= {".py", ".lock"}


# --------------------------------------------------------------------------- the cache


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small():
    return python_docs.load(progress=False, libraries=("datasets",)).documents


def test_a_second_load_reads_the_cache_and_is_equal(empty_cache, monkeypatch):
    first = small()
    assert len(first) > 300 and len(list(empty_cache.glob("*.json"))) == 1
    monkeypatch.setattr(python_docs, "harvest", lambda *_: pytest.fail("harvested again"))
    assert small() == first


def test_two_that_start_together_harvest_once(empty_cache, monkeypatch):
    """Two notebooks opened one after the other, or two workers of the tests, on a machine that has no corpus yet."""
    read, really, both_looked = python_docs._read_cache, harvest.harvest, Event()
    looked, harvested = [], []

    def look(path, **options):
        looked.append(path)
        if len(looked) == 3:  # the first one twice, the second time alone, and the other one
            both_looked.set()
        return read(path, **options)

    def once(*arguments):
        harvested.append(arguments)
        both_looked.wait(20)
        return really(*arguments)

    monkeypatch.setattr(python_docs, "_read_cache", look)
    monkeypatch.setattr(python_docs, "harvest", once)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: small(), range(2))
    assert first == second and len(harvested) == 1


def test_who_waits_for_anothers_harvest_is_told(empty_cache, monkeypatch, capsys):
    locks = []

    def taken(lock, **patience):
        locks.append(patience)
        if patience:
            raise filelock.Timeout(lock.lock_file)
        return nullcontext()

    monkeypatch.setattr(filelock.FileLock, "acquire", taken)
    assert small() and not capsys.readouterr().err  # with `progress=False` nothing is said
    (file,) = empty_cache.glob("*.json")
    file.unlink()
    assert python_docs.load(libraries=("datasets",)).documents and "waiting for it" in capsys.readouterr().err
    assert [bool(patience) for patience in locks] == [True, False] * 2


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), NotImplementedError("no flock here")])
def test_where_no_lock_can_be_made_the_harvest_goes_on(empty_cache, monkeypatch, error):
    def refused(lock, **patience):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    assert len(small()) > 300 and len(list(empty_cache.glob("*.json"))) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "{}",
        lambda text: text.replace('"library":["datasets",', '"library":[', 1),
    ],
)
def test_a_damaged_cache_is_named_and_harvested_again(empty_cache, damage):
    first = small()
    (file,) = empty_cache.glob("*.json")
    whole = file.read_text(encoding="utf-8")
    file.write_text(damage(whole), encoding="utf-8")
    assert file.read_text(encoding="utf-8") != whole
    with pytest.warns(UserWarning, match=f"the cached corpus {re.escape(str(file))} cannot be read") as said:
        assert small() == first
    assert len(said) == 1 and file.read_text(encoding="utf-8") == whole


def test_a_cache_that_may_not_be_read_is_named_and_harvested_again(empty_cache, monkeypatch):
    first, read = small(), Path.read_text

    def refused(path, **options):
        if path.suffix == ".json":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.warns(UserWarning, match=r"python-docs-\w+.json cannot be read \(PermissionError: .*Permission denied"):
        assert small() == first


def test_a_cache_folder_that_cannot_be_written(tmp_path, monkeypatch):
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(blocked))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert len(small()) > 300
    assert blocked.read_text() == "" and list(tmp_path.glob("embeddings-course-*/python-docs-*.json"))


def test_a_full_disk_costs_time_not_the_result(empty_cache, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(python_docs, "write_atomically", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert len(small()) > 300


def test_refresh_harvests(empty_cache, monkeypatch):
    small()
    monkeypatch.setattr(python_docs, "harvest", lambda *_: [])
    assert python_docs.load(refresh=True, progress=False, libraries="datasets").documents == []


def test_the_cache_is_keyed_by_versions(monkeypatch):
    before = harvest.fingerprint()
    assert before == harvest.fingerprint()
    monkeypatch.setattr(harvest.metadata, "version", lambda name: "0.0")
    assert harvest.fingerprint() != before


def test_unknown_and_missing_libraries(monkeypatch):
    with pytest.raises(ValueError, match="`libraries` names numby; take some of numpy, scipy"):
        python_docs.load(libraries=["numby"])
    monkeypatch.setattr(python_docs, "library_folder", lambda library: None)
    with pytest.raises(RuntimeError, match="networkx not installed here.*pip install"):
        python_docs.load(libraries=["networkx"])


def test_an_unknown_document_is_answered_with_near_names(docs):
    with pytest.raises(KeyError, match="did you mean.*numpy.argsort"):
        docs["numpy.argsrt"]
    assert isinstance(docs, PythonDocs)
