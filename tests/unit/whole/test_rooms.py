"""The shape of the house: no ring of imports, pages known to addresses alone, small folders, one name for one thing."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("common", "annotate", "training", "evaluation", "config")
CONVENTIONAL = {"actions", "pages", "api", "present", "urls"}  # each subject may have one
CONVENTIONAL |= {"base"}  # Django looks for a database backend by this name
MOST_FILES, MOST_LINES = 20, 360  # of a folder; of a module, above which a seam is looked for at 300


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOMS, exclude_type_checking_imports=True, cache_dir=None)


def modules() -> Iterator[Path]:
    """Every module of ours but migrations, from the root of the repository."""
    for room in ROOMS:
        yield from (p.relative_to(ROOT) for p in (ROOT / room).rglob("*.py") if "migrations" not in p.parts)


def test_nothing_below_one_package_imports_in_a_ring(imports: grimp.ImportGraph) -> None:
    """Of two modules or folders side by side one may know the other, and not the other way round."""
    for package in sorted(imports.modules):
        home = {
            module: child
            for child in imports.find_children(package)
            for module in {child, *imports.find_descendants(child)}
        }
        knows: dict[str, set[str]] = defaultdict(set)
        for module, child in home.items():
            imported = imports.find_modules_directly_imported_by(module)
            knows[child] |= {home[other] for other in imported if other in home} - {child}
        try:
            TopologicalSorter(knows).prepare()
        except CycleError as ring:
            pytest.fail(f"below {package}: {' -> '.join(reversed(ring.args[1]))}")


def test_nothing_but_addresses_and_pages_imports_pages(imports: grimp.ImportGraph) -> None:
    known = {
        (importer, module)
        for module in imports.modules
        if "pages" in module.split(".")
        for importer in imports.find_modules_that_directly_import(module)
    }
    assert known and not {(i, m) for i, m in known if "pages" not in i.split(".") and i.split(".")[-1] != "urls"}


def test_no_folder_holds_more_than_one_can_read_at_a_glance() -> None:
    crowd = Counter(path.parent.as_posix() for path in modules())
    assert not {folder: files for folder, files in crowd.items() if files > MOST_FILES}


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lines = {path.as_posix(): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES}


def test_no_two_modules_of_an_app_have_one_name() -> None:
    homes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in modules():
        if path.stem not in CONVENTIONAL and not path.stem.startswith("__"):
            homes[path.parts[0], path.stem].append(path.as_posix())
    assert not [paths for paths in homes.values() if len(paths) > 1]


@pytest.mark.slow
def test_private_names_stay_in_their_module() -> None:
    found = []
    for path in modules():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOMS:
                found += [f"{path}: {name.name}" for name in node.names if name.name.startswith("_")]
    assert not found


def test_each_subject_with_pages_has_its_addresses() -> None:
    subjects = {path.parts[:2] for path in modules() if path.parts[2:] and {"pages", "pages.py"} & set(path.parts)}
    assert len(subjects) == 25
    assert not ["/".join(subject) for subject in subjects if not (ROOT.joinpath(*subject) / "urls.py").exists()]
