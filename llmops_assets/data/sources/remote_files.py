"""Files behind a URL (s3://, gs://, https://, ...), through fsspec: kept on this machine until they change."""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from llmops_assets.settings import state_dir

_FOLDER = "source_files"
# What file systems and servers call a checksum or a time of change, in lower case.
_TELLS_CHANGES = frozenset(
    {"etag", "content-md5", "digest", "md5hash", "last-modified", "lastmodified", "mtime", "updated", "created"}
)
# In the names of their files, `?` and `@` are letters like others.
_STORES = tuple(f"{name}://" for name in ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"))
# A user with a password, and what follows an address: either may be a secret.
_SECRETS = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s'\")]*")


class RemoteFileError(Exception):
    """A URL cannot be read; the message says why, without secrets."""


class FoundFile(NamedTuple):
    """A file on this machine, how reports call it, and what its store calls this version of it (ETag, commit)."""

    path: Path
    name: str
    revision: str | None = None


def is_hidden(path: str, pattern: str) -> bool:
    """Return whether a file, or a folder above it, begins with a dot that the pattern does not name, such as .git."""
    named = [part for part in PurePosixPath(pattern).parts if part.startswith(".")]
    hidden = (part for part in PurePosixPath(path).parts if part.startswith(".") and part != "..")
    return any(not any(fnmatchcase(part, name) for name in named) for part in hidden)


def is_url(pattern: str) -> bool:
    """Return whether `pattern` is a URL and not a path."""
    return "://" in pattern


def without_secrets(text: str) -> str:
    """Return `text` with its addresses without user, password and query, which may hold a signature."""
    return _SECRETS.sub("", text) if is_url(text) else text


def fetch(pattern: str) -> list[FoundFile]:
    """Return the local copies of the files that `pattern` names, sorted; none if there are none.

    Reports call them by their URL without its query. A file is fetched anew when its size, its ETag, its checksum or
    its time of change is another one, and each time if its server tells none but the size. Credentials are those of
    the server's own tools, such as AWS_ACCESS_KEY_ID.

    Raises RemoteFileError.
    """
    if "@" in urlsplit(pattern.rpartition("::")[2]).netloc:
        raise RemoteFileError("it holds a name or password; put credentials into the environment")
    try:
        fs, root = url_to_fs(pattern)
        found = _found(fs, root, pattern)
        return [_local_file(fs, path, info) for path, info in found if info["type"] == "file"]
    except ImportError as error:
        raise RemoteFileError(f"{error}; install that package") from error
    except PermissionError as error:
        raise RemoteFileError(without_secrets(f"the server refuses the credentials ({error}); mend them")) from error
    except Exception as error:  # file systems raise the errors of their clients, which have no common base
        raise RemoteFileError(without_secrets(f"{type(error).__name__}: {error}")) from error


def kept_copy(url: str, version: str, download: Callable[[str], None], *, name: str, trusted: bool = True) -> Path:
    """Return the local copy of `url` in its `version`, which `download` writes to the path that it is given.

    The copy is called `name`, whose suffix tells what it holds.

    Copies lie under the state folder and appear whole or not at all. A copy that is there is taken if it is `trusted`.
    """
    folder = state_dir() / _FOLDER / hashlib.sha256(url.encode()).hexdigest()[:32]
    copy = folder / hashlib.sha256(version.encode()).hexdigest()[:16] / name
    if copy.is_file() and trusted:
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=copy.parent, prefix=".partial-", delete=False) as partial:
        unfinished = Path(partial.name)
    try:
        download(str(unfinished))
        unfinished.replace(copy)
    finally:
        unfinished.unlink(missing_ok=True)
    return copy


def _found(fs: AbstractFileSystem, root: str, pattern: str) -> list[tuple[str, dict[str, Any]]]:
    # Listings are remembered for the life of a process, and a code location lives long.
    fs.invalidate_cache()
    try:
        paths = [root]
        if _has_wildcard(pattern):
            paths = sorted(path for path in map(str, fs.glob(root)) if not is_hidden(path, root))
        return [(path, dict(fs.info(path))) for path in paths]
    except FileNotFoundError:
        return []


def _has_wildcard(pattern: str) -> bool:
    # A question mark in an address of the web opens its query.
    of_the_web = pattern.startswith(("http://", "https://"))
    return bool(re.search(r"[*\[]" if of_the_web else r"[*\[?]", pattern.partition("?")[0] if of_the_web else pattern))


def _shown(fs: AbstractFileSystem, path: str) -> str:
    address = str(fs.unstrip_protocol(path))
    return address if address.startswith(_STORES) else without_secrets(address)


def _local_file(fs: AbstractFileSystem, path: str, info: dict[str, Any]) -> FoundFile:
    told = {key.lower(): info[key] for key in info if key.lower() in _TELLS_CHANGES}
    url, version = _shown(fs, path), json.dumps([info.get("size"), told], sort_keys=True, default=str)
    of_the_web = url.startswith(("http://", "https://"))
    name = PurePosixPath(urlsplit(url).path if of_the_web else path).name
    copy = kept_copy(url, version, lambda target: fs.get_file(path, target), name=name, trusted=bool(told))
    return FoundFile(copy, url, str(told["etag"]).replace('"', "") if told.get("etag") else None)
