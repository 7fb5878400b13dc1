"""Files behind a URL (s3://, gs://, https://, ...), through fsspec: kept on this machine until they change."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from llmops_assets.settings import state_dir

_CACHE = "source_files"
# What file systems call a checksum or a time of change.
_TELLS_CHANGES = {"ETag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "mtime", "updated", "created"}


class RemoteFileError(Exception):
    """A URL cannot be read; the message says why."""


def is_url(pattern: str) -> bool:
    """Return whether `pattern` is a URL and not a path."""
    return "://" in pattern


def fetch(pattern: str) -> list[tuple[Path, str]]:
    """Return (local copy, URL without its query) of the files that `pattern` names, sorted; none if there are none.

    A file is fetched anew when what the server tells of it changes: size, time, ETag, checksum. Copies lie under the
    state folder and appear whole or not at all. Credentials are those of the server's own tools, such as
    AWS_ACCESS_KEY_ID, or in the query of an address; a URL with a name or password is refused.

    Raises RemoteFileError.
    """
    if urlsplit(pattern).username:
        raise RemoteFileError("it holds a name or password; put credentials into the environment")
    try:
        fs, root = url_to_fs(pattern)
        # Listings are remembered for the life of a process, and a code location lives long.
        fs.invalidate_cache()
        paths = sorted(fs.glob(root)) if _has_wildcard(pattern) else [root]
        found = [(path, fs.info(path)) for path in paths]
        return [(_local_copy(fs, path, info), _shown(fs, path)) for path, info in found if info["type"] == "file"]
    except FileNotFoundError:
        return []
    except ImportError as error:
        raise RemoteFileError(f"{error}; install that package") from error
    except Exception as error:  # file systems raise the errors of their clients, which have no common base
        raise RemoteFileError(f"{type(error).__name__}: {error}") from error


def _has_wildcard(pattern: str) -> bool:
    # A question mark in an address of the web opens its query.
    return "*" in pattern or ("?" in pattern and not pattern.startswith(("http://", "https://")))


def _shown(fs: AbstractFileSystem, path: str) -> str:
    """Return the URL without its query, which may hold a signature."""
    return str(fs.unstrip_protocol(path)).partition("?")[0]


def _local_copy(fs: AbstractFileSystem, path: str, info: dict[str, Any]) -> Path:
    version = hashlib.sha256(json.dumps([path, info], sort_keys=True, default=str).encode()).hexdigest()[:32]
    copy = state_dir() / _CACHE / version / PurePosixPath(_shown(fs, path)).name
    # A server of the web may tell the size alone, which says nothing about a change.
    if not copy.is_file() or not (_TELLS_CHANGES & info.keys()):
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(f".{copy.name}.partial")
        fs.get_file(path, str(partial))
        partial.replace(copy)
    return copy
