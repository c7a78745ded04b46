"""Imports run downwards: a reader of one layer need know only those below it, and no module waits for itself."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "course_lib"
LAYERS = (
    *({"functional", "storage"}, {"texts"}, {"models", "search"}, {"objectives"}, {"training"}, {"evaluation"}),
    *({"experiments"}, {"recipes"}, {"notebook"}, {"cli", "doctor"}),
)
FILES = {p: ".".join(p.relative_to(PACKAGE).with_suffix("").parts) for p in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__") for name in FILES.values()}


def level(module):
    """The number of a module's layer, from below."""
    return next(number for number, layer in enumerate(LAYERS) if module.partition(".")[0] in layer)


def imported(path):
    """The modules of the package that a file imports, also inside functions and under a condition."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in (n.removeprefix("course_lib.") for n in names if n.startswith("course_lib.")):
            yield name if name in MODULES else name.rpartition(".")[0]


GRAPH = {module: set(imported(path)) - {""} for path, module in FILES.items() if module != "__init__"}


def test_every_module_belongs_to_a_layer():
    assert {m.partition(".")[0] for m in MODULES} - {"__init__"} == set().union(*LAYERS)
    assert all(target in MODULES for targets in GRAPH.values() for target in targets)
    assert sum(map(len, GRAPH.values())) > 200  # there was something to look at


def test_imports_run_downwards():
    upwards = [(m, t) for m, targets in GRAPH.items() for t in targets if level(t) > level(m)]
    assert not upwards
    across = [
        (m, t)
        for m, targets in GRAPH.items()
        for t in targets
        if {m.split(".")[0], t.split(".")[0]} == {"models", "search"}
    ]
    assert not across


def test_no_module_imports_itself_by_way_of_others():
    done, path = set(), []

    def visit(module):
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for target in GRAPH.get(module, GRAPH.get(f"{module}.__init__", ())):
            visit(target)
        path.pop()
        done.add(module)

    for module in GRAPH:
        visit(module)


def test_files_and_functions_fit_on_a_screen():
    """The harvest and the exercises' texts are longer; nothing else is."""
    for path, module in FILES.items():
        source = path.read_text(encoding="utf-8")
        if module != "texts.harvest" and not module.startswith("notebook.exercises."):
            assert len(source.splitlines()) <= 350, module
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{module}: {node.name}"
