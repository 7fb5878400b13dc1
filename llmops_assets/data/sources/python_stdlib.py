"""The docstrings of the running Python's standard library, from its source files and from its C modules."""

import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Document
from llmops_assets.data.sources.docstrings import ApiDoc, harvest_package, harvest_runtime_modules, render_api_doc
from llmops_assets.data.sources.specs import PythonStdlibSource

LICENSE = "PSF-2.0"
# Tools, generated tables and jokes that live in the library's folder; their docstrings document no API.
_NOT_AN_API = frozenset(
    {"antigravity", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "this", "turtledemo"}
)
_C_MODULES = (
    *(
        "array",
        "atexit",
        "binascii",
        "bisect",
        "builtins",
        "bz2",
        "cmath",
        "codecs",
        "collections",
        "contextvars",
        "csv",
    ),
    *("ctypes", "datetime", "decimal", "errno", "faulthandler", "fcntl", "functools", "gc", "grp", "hashlib", "heapq"),
    *("io", "itertools", "lzma", "marshal", "math", "mmap", "operator", "os", "pickle", "pwd", "pyexpat", "queue"),
    *(
        "random",
        "re",
        "readline",
        "resource",
        "select",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "struct",
        "syslog",
        "sys",
    ),
    *("termios", "time", "tracemalloc", "types", "unicodedata", "warnings", "weakref", "zlib", "zoneinfo"),
)


def read_python_stdlib(source: PythonStdlibSource) -> Iterator[Document]:
    """Yield one document per documented module, class, function and method: name, signature, docstring.

    A class is one group with its methods; the functions of a module are one group. A name that is defined more than
    once gets `#2`, `#3`, ... in its id.
    """
    seen: Counter[str] = Counter()
    for doc, group in _harvest():
        seen[doc.qualified_name] += 1
        times = seen[doc.qualified_name]
        text = normalize_text(render_api_doc(doc)).strip("\n")
        yield Document(
            id=f"{source.name}/{doc.qualified_name}" + (f"#{times}" if times > 1 else ""),
            text=text,
            source=source.name,
            origin=f"{doc.source}:{doc.line}",
            group=f"api/{group}",
            license=LICENSE,
            body_start=text.index("\n\n") + 2,
            metadata={"kind": "api", "qualified_name": doc.qualified_name, "signature": doc.signature},
        )


@cache
def _harvest() -> tuple[tuple[ApiDoc, str], ...]:
    """Return every non-empty docstring with its group; cached, because it costs seconds and cannot change."""
    library = Path(sysconfig.get_path("stdlib"))
    docs = [doc for doc in harvest_package(library, "stdlib", prefix="") if _is_api(doc)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        docs.extend(harvest_runtime_modules(_available(_C_MODULES)))
    docs = [doc for doc in docs if doc.docstring.strip()]
    return tuple(zip(docs, _groups(docs), strict=True))


def _is_api(doc: ApiDoc) -> bool:
    top = doc.qualified_name.partition(".")[0]
    return top in sys.stdlib_module_names and top not in _NOT_AN_API


def _available(modules: Iterable[str]) -> list[str]:
    """Return the modules that this interpreter has: some are of one platform, some were left out of the build."""
    return [name for name in modules if find_spec(name) is not None]


def _groups(docs: list[ApiDoc]) -> Iterator[str]:
    """Yield for each doc the class that it is or belongs to, or its module."""
    places = [_place(doc) for doc in docs]
    owners = {(module, names[0]) for module, names in places if len(names) > 1}
    for module, names in places:
        yield f"{module}.{names[0]}" if names and (module, names[0]) in owners else module


def _place(doc: ApiDoc) -> tuple[str, list[str]]:
    """Return the module of `doc`, and the names inside it: `email.message`, [`Message`, `get_payload`]."""
    if doc.source.startswith("<runtime>/"):
        module = doc.source.removeprefix("<runtime>/").split(".")
    else:
        parts = PurePosixPath(doc.source).with_suffix("").parts
        module = [part for part in parts if not part.startswith("_")]
    names = doc.qualified_name.split(".")
    return ".".join(module), names[len(module) :]
