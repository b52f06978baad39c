"""The house keeps its shape: layers, no cycles, short files, quick imports. Imports inside functions count too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("instructue", "data_checks", "orchestration")

# Bottom to top. A layer may import itself and what is below it.
LAYERS = [
    ["instructue.errors", "instructue.files", "instructue.progress", "instructue.report",
     "instructue.paths", "instructue.telemetry"],
    ["instructue.changes"],
    ["instructue.config_model"],
    ["instructue.config"],
    ["instructue.models"],
    ["instructue.superapp"],
    ["instructue.datasets", "instructue.sources"],
    ["instructue.userqa"],
    ["instructue.batching"],
    ["instructue.network"],
    ["instructue.training"],
    ["instructue.tuning"],
    ["instructue.embedding"],
    ["instructue.evaluation"],
    ["instructue.api", "instructue"],
    ["instructue.stages"],
    ["instructue.show", "instructue.doctor"],
    ["instructue.__main__"],
]  # fmt: skip

# What data_checks may know of instructue.
CHECKED = {"instructue.sources.spec", "instructue.userqa.schema"}
# Tools that belong to one package.
BELONGS = {
    "dagster": "orchestration",
    "dvc": "orchestration",
    "great_expectations": "data_checks",
    "mlflow": "instructue",
}
HEAVY = set(
    [
        "dvc",
        "great_expectations",
        "implicit",
        "lightgbm",
        "matplotlib",
        "mlflow",
        "openai",
        "peft",
        "sentence_transformers",
        "sklearn",
        "torch",
        "transformers",
    ]
)
# Made of tensors: stages.py imports them inside functions.
TENSORS = tuple(
    f"instructue.{name}" for name in ("batching.", "network.", "training.", "tuning.", "embedding.", "models.bert")
)

LONGEST_FILE, LONGEST_FUNCTION = 300, 50


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def imported(tree: ast.AST) -> list[str]:
    """Every module that the code below `tree` imports, at its top or inside functions."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.append(full if full in SOURCES else str(node.module))
    return found


IMPORTS = {name: imported(tree) for name, tree in TREES.items()}


def layer(module: str) -> int:
    for height, names in enumerate(LAYERS):
        # A package stands for all that is in it; `instructue` alone is only its own __init__.
        if any(module == n or (n != "instructue" and module.startswith(n + ".")) for n in names):
            return height
    raise AssertionError(f"{module} has no layer: say in LAYERS where it belongs")


def test_the_checker_sees_imports_inside_functions():
    tree = ast.parse(
        "def f():\n    if True:\n        from instructue.evaluation import metrics\n        import torch.nn\n"
    )
    assert {name.split(".")[0] for name in imported(tree)} == {"instructue", "torch"}
    assert layer("instructue.evaluation.metrics") > layer("instructue.sources.spec") > layer("instructue.config")


@pytest.mark.parametrize("module", [m for m in SOURCES if m.startswith("instructue")])
def test_lower_layers_never_import_upper_ones(module):
    for target in IMPORTS[module]:
        if target in SOURCES and target.startswith("instructue"):
            assert layer(target) <= layer(module), f"{module} imports {target}, which lies above it"


def test_the_product_knows_nothing_of_its_frame():
    for module, targets in IMPORTS.items():
        for target in targets:
            top = target.split(".")[0]
            owner = BELONGS.get(top)
            assert owner is None or module.startswith(owner), f"{module} imports {target}, which belongs to {owner}"
            if module.startswith("instructue"):
                assert top not in ("data_checks", "orchestration"), f"{module} imports {target}"
            if module.startswith("data_checks"):
                assert top != "orchestration", f"{module} imports {target}"
                assert top != "instructue" or target in CHECKED, (
                    f"{module} imports {target}; it may know only {CHECKED}"
                )


def test_no_cycles():
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        for target in IMPORTS[module]:
            # `from package import module` inside that package names the module, not the package's __init__.
            if target in SOURCES and target != module:
                visit(target, [*trail, module])
        done.add(module)

    for module in SOURCES:
        visit(module, [])


def test_files_and_functions_are_short():
    long = []
    for name, path in SOURCES.items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                height = node.end_lineno - node.lineno + 1
                if height > LONGEST_FUNCTION:
                    long.append(f"{name}.{node.name}: {height} lines")
    assert not long


def test_heavy_libraries_are_imported_inside_functions():
    wrong = []
    for name, tree in TREES.items():
        allowed = {"torch"} if name.startswith(TENSORS) else set()
        top = [node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = imported(ast.Module(body=top, type_ignores=[]))
        wrong += [f"{name} imports {target}" for target in names if target.split(".")[0] in HEAVY - allowed]
    assert not wrong, f"at the top of a module: {wrong}"


def test_no_source_or_column_of_the_data_set_is_named_in_the_product():
    from instructue.sources.spec import load_dataset

    dataset = load_dataset("complete_journey")
    # Words that are as well everyday names in code.
    plain = {"amount", "quantity", "items", "type", "value", "days", "size", "row", "time", "user", "attribute"}
    told = {c for s in dataset.sources for c in (*s.key, *s.numbers)} | {s.name for s in dataset.sources}
    # An English word that answers use, not the source of that name.
    words = {"instructue.userqa.verify": {"redemption"}}
    for module, tree in TREES.items():
        if module.startswith("instructue"):
            constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            named = constants & told - plain - words.get(module, set())
            assert not named, f"{module} names {sorted(named)}"


def loaded_by(module: str) -> set[str]:
    """What importing `module` in a fresh interpreter loads."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_loading_the_asset_graph_loads_nothing_heavy():
    loaded = loaded_by("orchestration.definitions")
    assert "dagster" in loaded and not loaded & (HEAVY | {"polars", "pandas", "duckdb"})


def test_the_command_line_starts_without_anything_heavy():
    loaded = loaded_by("instructue.__main__")
    assert "instructue.stages" in loaded and not loaded & (HEAVY | {"dagster", "polars", "duckdb", "rich"})
