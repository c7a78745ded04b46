"""Read the documentation of installed packages from their files with `ast`; no package is imported or run."""

import ast
import hashlib
import importlib.util
import os
import platform
import signal
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from multiprocessing import resource_tracker
from pathlib import Path

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from course_lib.storage import uncollected
from course_lib.texts.prose import parse_docstring

_NAMES = "numpy scipy pandas sklearn matplotlib networkx sympy torch transformers datasets python".split()
# import name → the distribution that contains it; the standard library has none
LIBRARIES = {name: name for name in _NAMES} | {"sklearn": "scikit-learn", "python": None}
_SKIPPED_FOLDERS = frozenset(
    "tests test testing _vendor vendor site-packages dist-packages idlelib lib2to3 "
    "__pycache__ _examples benchmarks pydoc_data ensurepip turtledemo".split()
)
_RENAMED = {  # the name that a user writes, where no import statement defines it
    "posixpath": "os.path",
    "pandas.core.strings.accessor.StringMethods": "pandas.Series.str",
    "pandas.core.indexes.accessors.CombinedDatetimelikeProperties": "pandas.Series.dt",
    "pandas.core.indexes.accessors.DatetimeProperties": "pandas.Series.dt",
    "pandas.core.indexes.accessors.TimedeltaProperties": "pandas.Series.dt",
    "pandas.core.arrays.categorical.CategoricalAccessor": "pandas.Series.cat",
    "pandas.plotting.PlotAccessor": "pandas.DataFrame.plot",
    "pandas.core.generic.NDFrame": "pandas.DataFrame",  # the base class of both; its methods are known as DataFrame's
    "pandas.core.base.IndexOpsMixin": "pandas.Series",
}
_OFFERS = {"decimal": "_pydecimal"}  # offers all names of another module; in Python 3.13 no import statement says so
_INTERNAL = tuple(
    "pandas.core. pandas.compat. sklearn.externals. sympy.external. torch.testing. "
    "numpy.distutils. genericpath. ntpath.".split()
)
_DOC_CALLS = {"add_newdoc", "add_docstr", "_add_docstr", "_array_method_doc"}


@dataclass
class Document:
    """One documented object: its public name and its prose. A paragraph is a list of sentences.

    name: the name as a user writes it, such as "pandas.DataFrame.merge".
    library: one of LIBRARIES.
    kind: "module", "class", "function" or "method".
    paragraphs: first the summary (may be empty), then the description, then the details.
    described: number of `paragraphs` that are summary or description; the rest explain parameters and results.
    see_also: names of other documents.
    """

    name: str
    library: str
    kind: str
    paragraphs: list[list[str]]
    described: int
    see_also: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The first paragraph, as one text."""
        return " ".join(self.paragraphs[0])

    @property
    def body(self) -> str:
        """The paragraphs after the summary, as one text."""
        return " ".join(s for paragraph in self.paragraphs[1:] for s in paragraph)

    @property
    def text(self) -> str:
        """The whole document as one text."""
        return " ".join(self.sentences)

    @property
    def sentences(self) -> list[str]:
        """Every sentence, in order."""
        return [s for paragraph in self.paragraphs for s in paragraph]


def library_folder(library: str) -> Path | None:
    """Find the folder of a library's source without importing it.

    library: an import name, or "python" for the standard library.
    Returns None where the library is not installed.
    """
    if library == "python":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(library)
    return Path(next(iter(spec.submodule_search_locations))) if spec else None


def fingerprint(libraries: Sequence[str] = tuple(LIBRARIES)) -> str:
    """The key of the cache: it depends on the versions of the libraries and on the code of this module and `prose`.

    libraries: import names, by default all of LIBRARIES.
    Returns 16 hexadecimal digits.
    """
    versions = []
    for library in libraries:
        try:
            version = metadata.version(LIBRARIES[library]) if LIBRARIES[library] else platform.python_version()
        except metadata.PackageNotFoundError:
            version = "missing"
        versions.append(f"{library}={version}")
    here = Path(__file__).parent
    code = b"".join((here / name).read_bytes() for name in ("harvest.py", "prose.py"))
    return hashlib.sha256("\n".join(versions).encode() + code).hexdigest()[:16]


# --------------------------------------------------------------------------- one file


def _literal(node):
    """The text of a docstring expression: a constant, a template's `.format(…)`, or a sum of these."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):  # \x00 marks a value that is only known when the library runs
        return "".join(_literal(part) or "\x00" for part in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _literal(node.func.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _literal(node.left), _literal(node.right)
        return None if left is None and right is None else (left or "") + (right or "")
    return None


def _dotted(node):
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return head and f"{head}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _doc_call(call, module):
    """(name, docstring) of add_newdoc("module", "name", text), add_newdoc("name", text) or add_docstr(obj, text)."""
    function = getattr(call.func, "id", getattr(call.func, "attr", None))
    if function not in _DOC_CALLS or len(call.args) < 2:
        return
    last = call.args[-1]
    if isinstance(last, ast.Tuple) and len(last.elts) == 2:  # add_newdoc(module, class, (method, text))
        names = [_literal(a) for a in (*call.args[:-1], last.elts[0])]
        text = _literal(last.elts[1])
    else:
        names = [_literal(a) or _dotted(a) for a in call.args[:-1]]
        text = _literal(last)
    if text and all(names):
        if function == "_array_method_doc":
            names = ["numpy.ndarray", names[0]]
        elif len(names) == 1 and "." not in names[0]:
            names.insert(0, module.rsplit(".", 1)[0])
        yield ".".join(names), "function", text


def _doc_assignment(node, prefix):
    """(name, kind, docstring) of `Name.__doc__ = text`."""
    target = node.targets[0]
    if isinstance(target, ast.Attribute) and target.attr == "__doc__" and isinstance(target.value, ast.Name):
        name, text = target.value.id, _literal(node.value)
        if text and not name.startswith("_"):
            yield f"{prefix}.{name}", "class" if name[0].isupper() else "function", text


def _definitions(body, prefix, inside_class=False):
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_"):
                continue
            is_class = isinstance(node, ast.ClassDef)
            name = f"{prefix}.{node.name}"
            if text := ast.get_docstring(node, clean=False):
                yield name, "class" if is_class else "method" if inside_class else "function", text
            if is_class:
                yield from _definitions(node.body, name, inside_class=True)
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _definitions(node.body, prefix, inside_class)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _doc_call(node.value, prefix)
        elif isinstance(node, ast.Assign):
            yield from _doc_assignment(node, prefix)


def _imports(tree, module, is_package):
    """(name here, full name there) for every `from x import y` at the top of a module; '*' for stars."""
    package = module if is_package else module.rpartition(".")[0]
    for node in _top_level(tree.body):
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(p for p in (base, node.module) if p)
            for a in node.names:
                yield ("*", source) if a.name == "*" else (a.asname or a.name, f"{source}.{a.name}")


def _top_level(body):
    """The statements of a module, including those inside `if`, `try` and `with`."""
    for node in body:
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from _top_level([*node.body, *getattr(node, "orelse", ())])
            for handler in getattr(node, "handlers", ()):
                yield from _top_level(handler.body)
        else:
            yield node


def _exported(tree, is_package, aliases):
    """The imported names that a module offers: all of a package's, else those in `__all__` or of a star import."""
    if is_package:
        return {here for here, _ in aliases}
    statements = [statement for statement in _top_level(tree.body) if _assigns_all(statement)]
    constants = [node.value for s in statements for node in ast.walk(s) if isinstance(node, ast.Constant)]
    return {value for value in constants if isinstance(value, str)} or {here for here, _ in aliases if here == "*"}


def _assigns_all(statement):
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets)


@uncollected()  # a syntax tree is many objects; looking for garbage took half of the time
def _read_file(job):
    """Parse one file: (module, [(name, kind, Docstring)], [(name here, full name there)], re-exported names)."""
    path, module, is_package = job
    try:
        source = Path(path).read_text(encoding="utf-8")
        with warnings.catch_warnings(action="ignore"):  # other people's invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, OSError, ValueError):
        return module, [], [], set()
    candidates = [(module, "module", ast.get_docstring(tree, clean=False) or ""), *_definitions(tree.body, module)]
    parsed = [(name, kind, parse_docstring(text)) for name, kind, text in candidates]
    found = [(name, kind, doc) for name, kind, doc in parsed if doc.summary or doc.description]
    aliases = list(_imports(tree, module, is_package))
    if module in _OFFERS:
        aliases.append(("*", _OFFERS[module]))
    return module, found, aliases, _exported(tree, is_package, aliases)


# --------------------------------------------------------------------------- a library


def source_files(library: str) -> Iterator[tuple[str, str, bool]]:
    """The files of a library that are read: (path, module, whether it is a package)."""
    root = library_folder(library)
    for folder, subfolders, files in os.walk(root) if root else ():
        subfolders[:] = sorted(s for s in subfolders if s not in _SKIPPED_FOLDERS and s.isidentifier())
        package = [*([] if library == "python" else [library]), *Path(folder).relative_to(root).parts]
        for file in sorted(files):
            if not file.endswith(".py") or file.startswith(("test_", "conftest", "_antlr", "setup")):
                continue
            is_package = file == "__init__.py"
            module = ".".join(package if is_package else [*package, file.removesuffix(".py")])
            if module:
                yield os.path.join(folder, file), _RENAMED.get(module, module), is_package


def _tables(names, aliases):
    """{module: {name: full name of its definition}}, following imports until nothing new is found."""
    tables = {module: {} for module in aliases}
    for full in names:
        module, _, last = full.rpartition(".")
        tables.setdefault(module, {})[last] = full
    changed = True
    while changed:  # imports may be circular, so each pass continues with the results of the last one
        changed = False
        for module, imported in aliases.items():
            table, before = tables[module], len(tables[module])
            for here, there in imported:
                if here == "*":
                    for name, full in list(tables.get(there, {}).items()):
                        if not name.startswith("_"):
                            table.setdefault(name, full)
                else:
                    source, _, last = there.rpartition(".")
                    if last in tables.get(source, {}):
                        table.setdefault(here, tables[source][last])
            changed |= len(table) > before
    return tables


def _public_names(kinds, aliases, exported):
    """Map each defined name to the shortest public name that reaches it.

    kinds: {full name of a definition: kind}.
    aliases: {module: [(name here, full name there)]}, with '*' for a star import.
    exported: {module: the imported names it offers}, with '*' for those of its star imports.
    """
    best = {}
    for module, table in _tables(kinds, aliases).items():
        offered = exported.get(module, set())
        for name, full in table.items():
            if name in offered or "*" in offered or full == f"{module}.{name}":
                public = f"{module}.{name}".lstrip(".")
                hidden, dots, length, _ = name_rank(public)
                rank = (hidden, dots, public != full, length, public)
                best[full] = min(rank, best.get(full, rank))
    short = {full: rank[-1] for full, rank in best.items()}
    for full in sorted(kinds, key=lambda n: n.count(".")):  # members follow their class
        owner, _, last = full.rpartition(".")
        if kinds.get(owner) == "class":
            short[full] = f"{_RENAMED.get(short[owner], short[owner])}.{last}"
        else:
            short.setdefault(full, full)
    return short


def is_public(name: str) -> bool:
    """Whether a name is part of a library's public interface: no part of it is private.

    name: a dotted name, such as "numpy.linalg.svd".
    Returns False for a private name.
    """
    return not any(part.startswith("_") for part in name.split(".")) and not name.startswith(_INTERNAL)


def name_rank(name: str) -> tuple[bool, int, int, str]:
    """A sort key for names: public ones first, then short ones.

    name: a dotted name.
    Returns (is private, number of dots, length, name).
    """
    return not is_public(name), name.count("."), len(name), name


def harvest(
    libraries: Sequence[str] = tuple(LIBRARIES), progress: bool = True, processes: int | None = None
) -> list[Document]:
    """Read every documented object of the libraries.

    libraries: import names, by default all of LIBRARIES; a library that is not installed gives no documents.
    progress: whether to show a progress bar; default True.
    processes: number of worker processes; by default one per CPU core, at most 8.
    Returns the documents sorted by name. All libraries take about 40 s on two cores.
    """
    jobs = [(library, job) for library in libraries for job in source_files(library)]
    found = _read_files([job for _, job in jobs], progress, processes or min(8, os.cpu_count() or 1))
    documents = []
    for library in libraries:
        mine = [r for (owner, _), r in zip(jobs, found) if owner == library]
        documents += _library_documents(library, mine)
    return sorted(documents, key=lambda d: d.name)


def _read_files(jobs, progress, processes):
    """What `_read_file` returns for each job, in order."""
    # loky starts fresh interpreters: no fork of a process with threads, and no need for a guarded main module
    parallel = Parallel(processes, "loky", return_as="generator", batch_size=16, idle_worker_timeout=10)
    results = None
    try:
        with _interrupts_held():
            results = parallel(delayed(_read_file)(job) for job in jobs)
        return list(tqdm(results, total=len(jobs), desc="Reading documentation", unit="file", disable=not progress))
    except BaseException:
        if results:
            with warnings.catch_warnings(action="ignore"):  # that tasks are cancelled
                results.close()  # stops the workers
        raise


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C for a moment: processes started meanwhile never see it, and print no tracebacks of their own.

    A terminal sends Ctrl-C to every process of a program. The workers leave it to the parent, which stops them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # joblib would start it, and that would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _library_documents(library, results):
    found = {}
    for _, definitions, _, _ in results:
        for name, kind, doc in definitions:
            found.setdefault(name, (kind, doc))
    kinds = {name: kind for name, (kind, _) in found.items()}
    public = _public_names(kinds, {r[0]: r[2] for r in results}, {r[0]: r[3] for r in results})
    named, seen = {}, set()
    for full in sorted(found, key=lambda f: _choice(public[f], found[f][0])):
        name, (kind, doc) = public[full], found[full]
        paragraphs = [doc.summary, *doc.description, *doc.details]
        if name in named or str(paragraphs) in seen:  # the same docstring under another name
            continue
        seen.add(str(paragraphs))
        links = [(full, n) for n in doc.see_also]
        named[name] = Document(name, library, kind, paragraphs, 1 + len(doc.description), links)
    lookup = {**{n: n for n in named}, **{f: public[f] for f in found if public[f] in named}}
    for document in named.values():
        links = (_resolve(name, full, document.name, library, lookup) for full, name in document.see_also)
        document.see_also = sorted({link for link in links if link and link != document.name})
    return list(named.values())


def _choice(name, kind):
    """A sort key for objects that share a docstring: public and short names first, but a class before a function."""
    hidden, dots, length, _ = name_rank(name)
    return hidden, dots - (kind == "class"), kind == "method", length, name


def _resolve(name, full, public, library, lookup):
    """The document that a See Also entry names, searched in the class, then its module, then upwards to the library."""
    for start in (public, full):
        parts = start.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            if hit := lookup.get(".".join([*parts[:depth], name])):
                return hit
    return lookup.get(name) or lookup.get(f"{library}.{name}")
