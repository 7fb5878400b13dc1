"""Harvesting API documentation from source files and from C-implemented modules."""

import sys
from pathlib import Path

import pytest

from llmops_assets.data.sources.docstrings import (
    ApiDoc,
    DocumentationSourceError,
    harvest_package,
    harvest_runtime_modules,
    render_api_doc,
)

SOURCE = '''"""A module.

    With a second line."""
import does_not_exist_anywhere

class Shape:
    """A shape."""

    def __init__(self, side: float, *, name="x"):
        """Private by name."""

    def area(self, /, unit: str = "m2", *others, scale, **rest) -> float:
        """Return the area.

        One line:
            Indented by four.
        """

    @property
    def side(self):
        """The side."""

    @staticmethod
    def unit():
        """Make a unit shape."""

    def _hidden(self):
        """Never seen."""

if True:
    def maybe(a, b=(1, 2), /, c=None, *, d):
        """Return something, maybe."""

try:
    import fast
except ImportError:
    async def fallback(value: dict[str, tuple[int, int, int, int, int, int, int, int, int, int, int, int]] = None):
        """Fall back."""

def undocumented():
    pass
'''


def _package(tmp_path: Path) -> Path:
    package = tmp_path / "shapes"
    for name, text in {
        "__init__.py": '"""The shapes package."""',
        "_core/plane.py": SOURCE,
        "tests/test_plane.py": '"""A test."""',
        "_vendor/other.py": '"""Vendored."""',
        "test_more.py": '"""Another test."""',
        "broken.py": "def (:",
    }.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


def test_public_objects_are_harvested_in_source_order_with_names_signatures_and_lines(tmp_path: Path) -> None:
    docs = list(harvest_package(_package(tmp_path), "shapes"))

    assert [doc.qualified_name + doc.signature for doc in docs] == [
        "shapes",
        "shapes.plane",
        "shapes.plane.Shape(side: float, *, name='x')",
        "shapes.plane.Shape.area(unit: str = 'm2', *others, scale, **rest)",
        "shapes.plane.Shape.side",
        "shapes.plane.Shape.unit()",
        "shapes.plane.maybe(a, b=(1, 2), /, c=None, *, d)",
        "shapes.plane.fallback(value=None)",
    ]
    area = docs[3]
    assert area.source == "shapes/_core/plane.py"
    assert SOURCE.splitlines()[area.line - 1].strip().startswith("def area")
    assert area.docstring == "Return the area.\n\nOne line:\n    Indented by four."
    assert {doc.package for doc in docs} == {"shapes"}


def test_harvesting_does_not_import_the_package(tmp_path: Path) -> None:
    list(harvest_package(_package(tmp_path), "shapes"))
    assert "shapes" not in sys.modules


def test_top_level_modules_are_named_without_a_package_and_private_ones_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "alpha.py").write_text('"""Alpha."""', encoding="utf-8")
    (tmp_path / "_beta.py").write_text('"""Beta."""', encoding="utf-8")

    assert list(harvest_package(tmp_path, "library", prefix="")) == [
        ApiDoc("alpha", "", "Alpha.", "alpha.py", 1, "library")
    ]


def test_a_missing_directory_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentationSourceError, match="nowhere"):
        list(harvest_package(tmp_path / "nowhere", "nowhere"))


def test_c_functions_are_documented_with_signatures_from_text_or_call_line() -> None:
    docs = {doc.qualified_name: doc for doc in harvest_runtime_modules(["builtins", "math", "os"])}

    assert docs["math.cbrt"].signature == "(x, /)"
    assert docs["builtins.sorted"].signature == "(iterable, /, *, key=None, reverse=False)"
    assert docs["builtins.max"].signature.startswith("(iterable")
    assert docs["builtins.str.splitlines"].signature == "(keepends=False)"
    assert docs["os.getcwd"].package == "os"
    assert "os.path" not in docs and "os.makedirs" not in docs
    assert "builtins.EnvironmentError" not in docs
    assert all(doc.docstring.strip() for doc in docs.values())


def test_an_unknown_runtime_module_is_named_in_the_error() -> None:
    with pytest.raises(DocumentationSourceError, match="no_such_module"):
        list(harvest_runtime_modules(["no_such_module"]))


def test_rendered_text_is_name_and_signature_then_docstring() -> None:
    doc = ApiDoc("numpy.mean", "(a, axis=None)", "Compute the mean.", "numpy/core.py", 3, "numpy")
    assert render_api_doc(doc) == "numpy.mean(a, axis=None)\n\nCompute the mean."
