"""Files of code: which suffix is which language, and what of a folder of code is not worth reading."""

import io
import re
import tokenize

from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Reason, RecordError
from llmops_assets.data.sources.text_encodings import decoded

LANGUAGES: dict[str, str] = {
    **dict.fromkeys((".py", ".pyi"), "Python"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), "JavaScript"),
    **dict.fromkeys((".ts", ".tsx", ".mts", ".cts"), "TypeScript"),
    **dict.fromkeys((".c", ".h"), "C"),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"), "C++"),
    **dict.fromkeys((".cu", ".cuh"), "CUDA"),
    **dict.fromkeys((".kt", ".kts"), "Kotlin"),
    **dict.fromkeys((".ex", ".exs"), "Elixir"),
    **dict.fromkeys((".erl", ".hrl"), "Erlang"),
    **dict.fromkeys((".ml", ".mli"), "OCaml"),
    **dict.fromkeys((".fs", ".fsi", ".fsx"), "F#"),
    **dict.fromkeys((".clj", ".cljs", ".cljc"), "Clojure"),
    **dict.fromkeys((".f", ".f90", ".f95", ".for"), "Fortran"),
    **dict.fromkeys((".sh", ".bash", ".zsh"), "Shell"),
    **dict.fromkeys((".ps1", ".psm1"), "PowerShell"),
    **dict.fromkeys((".pl", ".pm"), "Perl"),
    **dict.fromkeys((".yaml", ".yml"), "YAML"),
    **dict.fromkeys((".css", ".scss", ".less"), "CSS"),
    **dict.fromkeys((".sv", ".v", ".vh"), "Verilog"),
    **dict.fromkeys((".vhd", ".vhdl"), "VHDL"),
    **dict.fromkeys((".tex", ".sty"), "TeX"),
    **{".java": "Java", ".go": "Go", ".rs": "Rust", ".cs": "C#", ".swift": "Swift", ".scala": "Scala", ".rb": "Ruby"},
    **{".php": "PHP", ".lua": "Lua", ".r": "R", ".jl": "Julia", ".hs": "Haskell", ".dart": "Dart", ".zig": "Zig"},
    **{".nim": "Nim", ".m": "Objective-C", ".mm": "Objective-C++", ".groovy": "Groovy", ".sql": "SQL", ".lisp": "Lisp"},
    **{".el": "Emacs Lisp", ".scm": "Scheme", ".vue": "Vue", ".svelte": "Svelte", ".proto": "Protocol Buffers"},
    **{".graphql": "GraphQL", ".tf": "Terraform", ".toml": "TOML", ".ini": "INI", ".cmake": "CMake", ".mk": "Makefile"},
    **{".rst": "reStructuredText", ".xml": "XML", ".asm": "Assembly", ".s": "Assembly", ".sol": "Solidity"},
}
LARGEST_FILE = 2**20
_GENERATED_LINES = 10
# What generators write above their code; the second is Go's convention (https://go.dev/s/generatedcode).
_GENERATED = re.compile(
    r"^[ \t]*(?:#|//|/\*|\*|--|;|%|<!--|\"\"\"|\(\*).*"
    r"(?:@generated\b|\bcode generated .*do not edit|\bdo not (?:edit|modify)\b|\bauto-?generated\b"
    r"|\bautomatically generated\b|\bgenerated (?:automatically|by the protocol buffer compiler)\b).*",
    re.IGNORECASE | re.MULTILINE,
)
_LONG_LINE = 1000


def read_code(raw: bytes, name: str, suffix: str) -> str:
    """Return the text of a file of code letter by letter, but for its newlines, which become `\\n`.

    Spaces at line ends, tabs, form feeds and the form of Unicode letters stay: in code they may carry meaning. The
    encoding is UTF-8, or what a Python file declares (PEP 263). Raises RecordError for a file that is not written by
    people or not to be read: larger than 1 MiB, binary, minified (most of it in lines of more than 1,000 characters),
    generated (its first ten lines say so), or empty.
    """
    if ".min." in name.lower():
        raise RecordError(Reason.MINIFIED, "its name says that it is minified")
    if len(raw) > LARGEST_FILE:
        raise RecordError(Reason.TOO_LARGE, f"more than {LARGEST_FILE:,} bytes of code")
    if b"\0" in raw:
        raise RecordError(Reason.BINARY, f"byte {raw.index(0)} is NUL, which no code has")
    text = _decoded(raw, suffix).replace("\r\n", "\n").replace("\r", "\n")
    if not normalize_text(text).strip():
        raise RecordError(Reason.EMPTY, "the file holds no text")
    if header := _GENERATED.search("\n".join(text.split("\n", _GENERATED_LINES)[:_GENERATED_LINES])):
        raise RecordError(Reason.GENERATED, f"its header says: {' '.join(header[0].split())[:120]}")
    in_long_lines = sum(len(line) for line in text.split("\n") if len(line) > _LONG_LINE)
    if 2 * in_long_lines > len(text):
        share = in_long_lines / len(text)
        raise RecordError(Reason.MINIFIED, f"{share:.0%} of it in lines of more than {_LONG_LINE} characters")
    return text


def _decoded(raw: bytes, suffix: str) -> str:
    encoding = "utf-8-sig"
    if LANGUAGES[suffix] == "Python":
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        except SyntaxError as error:
            raise RecordError(Reason.INVALID_UTF8, str(error)) from error
    return decoded(raw, encoding)
