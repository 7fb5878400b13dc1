"""API documentation of Python packages: from their source by `ast`, for C-implemented modules by `inspect`."""

import ast
import importlib
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from llmops_assets.errors import LlmopsError

SKIPPED_DIRECTORIES = frozenset(
    {
        "__pycache__",
        "_vendor",
        "_vendored",
        "dist-packages",
        "extern",
        "externals",
        "node_modules",
        "site-packages",
        "test",
        "tests",
        "third_party",
        "thirdparty_files",
        "vendor",
        "vendored",
    }
)
_TEST_FILE = re.compile(r"^(test_.*|.*_test|conftest)\.py$")
_LONGEST_EXPRESSION = 60
# CPython implements `os` in a module of the platform's name; every other pair differs by a leading underscore only.
_IMPLEMENTATION_OF = {"posix": "os", "nt": "os"}

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class DocumentationSourceError(LlmopsError):
    """A package directory or a module that should be harvested is missing."""


@dataclass(frozen=True)
class ApiDoc:
    """The documentation of one module, class, function or method.

    `signature` holds the parameter list with its parentheses, or is empty (modules, classes without `__init__`).
    `source` is the file relative to the directory that holds the package, and `line` its 1-based line; objects read at
    run time have the source `<runtime>/MODULE` and line 0.
    """

    qualified_name: str
    signature: str
    docstring: str
    source: str
    line: int
    package: str


def render_api_doc(doc: ApiDoc) -> str:
    """Return the text of `doc` as training corpora hold it: name and signature, an empty line, the docstring."""
    return f"{doc.qualified_name}{doc.signature}\n\n{doc.docstring}"


def harvest_package(package_dir: Path, package: str, *, prefix: str | None = None) -> Iterator[ApiDoc]:
    """Yield the public API documentation of every `.py` file below `package_dir`, without importing any of it.

    Files come in sorted order and objects in source order, so the result is a function of the files alone. Private
    components of a module path are left out of names (`numpy.linalg._linalg.norm` is `numpy.linalg.norm`); private
    objects, tests and vendored copies are skipped. `prefix` is the dotted name of `package_dir` itself: by default
    `package`; `""` for a directory of top-level modules such as the standard library's, where private top-level modules
    are skipped as well.

    Raises DocumentationSourceError if `package_dir` is not a directory.
    """
    if not package_dir.is_dir():
        raise DocumentationSourceError(
            f"{package_dir}: no such package directory (package {package!r}); install it first"
        )
    root = package if prefix is None else prefix
    for path in iter_source_files(package_dir, ".py"):
        relative = path.relative_to(package_dir)
        if _TEST_FILE.match(relative.name):
            continue
        module = _module_name(root, relative)
        if module is None:
            continue
        source = f"{root.replace('.', '/')}/{relative.as_posix()}" if root else relative.as_posix()
        for name, signature, docstring, line in _harvest_file(path, module):
            yield ApiDoc(name, signature, docstring, source, line, package)


def iter_source_files(directory: Path, *suffixes: str) -> Iterator[Path]:
    """Yield the files below `directory` that end with one of `suffixes`, sorted, outside `SKIPPED_DIRECTORIES`."""
    for entry in sorted(directory.iterdir(), key=lambda path: path.name):
        if entry.is_dir():
            if entry.name not in SKIPPED_DIRECTORIES and not entry.is_symlink():
                yield from iter_source_files(entry, *suffixes)
        elif entry.suffix in suffixes:
            yield entry


def harvest_runtime_modules(names: Iterable[str]) -> Iterator[ApiDoc]:
    """Yield the documentation of objects of the modules `names` that no Python source holds, in sorted order.

    Only objects that the module itself implements in C are read; what it defines in Python is `harvest_package`'s.

    Raises DocumentationSourceError if a module cannot be imported.
    """
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise DocumentationSourceError(
                f"module {name!r} cannot be imported ({error}); remove it from the list"
            ) from error
        if module.__doc__ and not _has_python_source(module):
            yield ApiDoc(name, "", inspect.cleandoc(module.__doc__), f"<runtime>/{name}", 0, name)
        for attribute, value in sorted(vars(module).items()):
            if not attribute.startswith("_") and _is_implemented_in_c(value, attribute, name):
                yield from _runtime_docs(f"{name}.{attribute}", value, name)


def _module_name(root: str, relative: Path) -> str | None:
    parts = [*relative.with_suffix("").parts]
    if not root and parts[0].startswith("_"):
        return None
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(part for part in [root, *parts] if part and not part.startswith("_"))


def _harvest_file(path: Path, module: str) -> Iterator[tuple[str, str, str, int]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        # Templates and files for another Python version end in .py as well; they document nothing importable here.
        return
    docstring = ast.get_docstring(tree)
    if docstring:
        yield module, "", docstring, 1
    yield from _harvest_body(tree.body, module, inside_class=False)


def _harvest_body(body: Iterable[ast.stmt], owner: str, *, inside_class: bool) -> Iterator[tuple[str, str, str, int]]:
    for node in body:
        if isinstance(node, ast.If):
            yield from _harvest_body([*node.body, *node.orelse], owner, inside_class=inside_class)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _harvest_body([*node.body, *handlers, *node.orelse], owner, inside_class=inside_class)
        elif isinstance(node, ast.ClassDef | _Function) and not node.name.startswith("_"):
            name = f"{owner}.{node.name}" if owner else node.name
            docstring = ast.get_docstring(node)
            if docstring:
                signature = (
                    _signature_of_class(node) if isinstance(node, ast.ClassDef) else _signature(node, inside_class)
                )
                yield name, signature, docstring, node.lineno
            if isinstance(node, ast.ClassDef):
                yield from _harvest_body(node.body, name, inside_class=True)


def _signature_of_class(node: ast.ClassDef) -> str:
    for statement in node.body:
        if isinstance(statement, _Function) and statement.name == "__init__":
            return _signature(statement, inside_class=True)
    return ""


def _signature(node: _Function, inside_class: bool) -> str:
    decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
    if inside_class and any(name.endswith(("property", ".setter")) for name in decorators):
        return ""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    texts = [_parameter(argument) for argument in positional]
    first_default = len(positional) - len(arguments.defaults)
    for index, default in enumerate(arguments.defaults, start=first_default):
        texts[index] += _default(positional[index], default)
    if arguments.posonlyargs:
        texts.insert(len(arguments.posonlyargs), "/")
    if inside_class and "staticmethod" not in decorators:
        texts = texts[1:]
    if arguments.vararg:
        texts.append("*" + _parameter(arguments.vararg))
    elif arguments.kwonlyargs:
        texts.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        texts.append(_parameter(argument) + ("" if default is None else _default(argument, default)))
    if arguments.kwarg:
        texts.append("**" + _parameter(arguments.kwarg))
    if texts and texts[0] == "/":
        texts = texts[1:]
    return f"({', '.join(texts)})"


def _shown_annotation(argument: ast.arg) -> str | None:
    text = ast.unparse(argument.annotation) if argument.annotation else None
    return text if text and len(text) <= _LONGEST_EXPRESSION else None


def _parameter(argument: ast.arg) -> str:
    annotation = _shown_annotation(argument)
    return f"{argument.arg}: {annotation}" if annotation else argument.arg


def _default(argument: ast.arg, default: ast.expr) -> str:
    text = ast.unparse(default)
    shown = text if len(text) <= _LONGEST_EXPRESSION else "..."
    return f" = {shown}" if _shown_annotation(argument) else f"={shown}"


def _has_python_source(module: ModuleType) -> bool:
    return str(getattr(module, "__file__", None) or "").endswith(".py")


def _is_implemented_in_c(value: object, alias: str, module: str) -> bool:
    owner = getattr(value, "__module__", None) or ""
    if getattr(value, "__name__", alias) != alias:
        return False
    if owner.removeprefix("_") != module and _IMPLEMENTATION_OF.get(owner) != module:
        return False
    if isinstance(value, type):
        # A `class` statement leaves a `__module__` entry behind; most C types have none.
        return "__module__" not in vars(value) or not _has_python_source(importlib.import_module(owner))
    return inspect.isroutine(value) and not inspect.isfunction(value)


def _runtime_docs(name: str, value: object, module: str) -> Iterator[ApiDoc]:
    raw = getattr(value, "__doc__", None)
    if isinstance(raw, str) and raw.strip():
        signature, docstring = _split_runtime_doc(name.rpartition(".")[2], value, inspect.cleandoc(raw))
        yield ApiDoc(name, signature, docstring, f"<runtime>/{module}", 0, module)
    if isinstance(value, type):
        for attribute, member in sorted(vars(value).items()):
            if not attribute.startswith("_") and not isinstance(member, type):
                yield from _runtime_docs(f"{name}.{attribute}", member, module)


def _split_runtime_doc(name: str, value: object, docstring: str) -> tuple[str, str]:
    """Return the signature and the prose of a C object, whose docstring may open with its own call line."""
    first, _, rest = docstring.partition("\n")
    match = re.match(rf"(?:\w+\.)*{re.escape(name)}(\(.*\))\s*(?:->\s*[\w\[\], ]+)?(?:--\s*)?$", first.strip())
    if match and rest.strip():
        return match.group(1), inspect.cleandoc(rest)
    if not callable(value):
        return "", docstring
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return "", docstring
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    texts = [str(parameter) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    positional_only = kinds.count(inspect.Parameter.POSITIONAL_ONLY)
    if positional_only:
        texts.insert(positional_only, "/")
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        texts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY) + bool(positional_only), "*")
    return f"({', '.join(texts)})", docstring
