"""Files of a LakeFS repository (`lakefs://repository/ref/path/*.jsonl`), read at one commit.

The server and its keys come from LAKEFS_ENDPOINT, LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY. What has been staged on a
branch and not committed is not read.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from fsspec.utils import glob_translate

from llmops_assets.data.sources.remote_files import FoundFile, RemoteFileError, is_hidden, kept_copy, without_secrets

if TYPE_CHECKING:
    from lakefs.client import Client
    from lakefs.models import ObjectInfo

SCHEME = "lakefs://"
_ENVIRONMENT = ("LAKEFS_ENDPOINT", "LAKEFS_ACCESS_KEY", "LAKEFS_SECRET_KEY")
_COMMIT = re.compile(r"[0-9a-f]{64}")
_WILDCARD = re.compile(r"[*?\[]")
_CHUNK = 8 << 20


class _Address(NamedTuple):
    repository: str
    ref: str
    path: str

    @classmethod
    def of(cls, pattern: str) -> "_Address":
        parts = pattern.removeprefix(SCHEME).split("/", 2)
        if len(parts) < 3 or not all(parts):
            raise RemoteFileError("it must be lakefs://<repository>/<branch, tag or commit>/<path>; mend it")
        return cls(*parts)


def is_lakefs(pattern: str) -> bool:
    """Return whether `pattern` names files of a LakeFS repository."""
    return pattern.startswith(SCHEME)


def names_commit(pattern: str) -> bool:
    """Return whether `pattern` names its files at a commit. Raises RemoteFileError for one that is none of LakeFS."""
    return _COMMIT.fullmatch(_Address.of(pattern).ref) is not None


def at_commit(pattern: str) -> str:
    """Return `pattern` with the commit that its branch or tag is at now; one that names a commit as it is.

    Raises RemoteFileError.
    """
    if names_commit(pattern):
        return pattern
    address = _Address.of(pattern)
    with _readable_errors(address):
        from lakefs.reference import Reference

        commit = Reference(address.repository, address.ref, client=_client()).get_commit().id
    return f"{SCHEME}{address.repository}/{commit}/{address.path}"


def fetch_lakefs(pattern: str) -> list[FoundFile]:
    """Return the local copies of the files that `pattern` names at its commit, sorted; none if there are none.

    A file that two commits have in common is fetched once. Reports call files by repository and path, not by commit:
    the documents of an unchanged file keep their names, and so their side of a split. Raises RemoteFileError.
    """
    address = _Address.of(at_commit(pattern))
    with _readable_errors(address):
        client = _client()
        return [_local_file(client, address, entry) for entry in _matching(client, address)]


def _matching(client: "Client", address: _Address) -> Iterator["ObjectInfo"]:
    from lakefs.models import ObjectInfo
    from lakefs.reference import Reference

    wildcard = _WILDCARD.search(address.path)
    prefix = address.path[: wildcard.start()] if wildcard else address.path
    matches = re.compile(glob_translate(address.path)) if wildcard else re.compile(re.escape(address.path))
    for entry in Reference(address.repository, address.ref, client=client).objects(prefix=prefix):
        if isinstance(entry, ObjectInfo) and matches.fullmatch(entry.path) and not is_hidden(entry.path, address.path):
            yield entry


def _local_file(client: "Client", address: _Address, entry: "ObjectInfo") -> FoundFile:
    from lakefs.object import StoredObject

    def download(target: str) -> None:
        stored = StoredObject(address.repository, address.ref, entry.path, client)
        with stored.reader("rb", pre_sign=False) as reader, Path(target).open("wb") as copy:
            while isinstance(chunk := reader.read(_CHUNK), bytes) and chunk:
                copy.write(chunk)
            if copy.tell() != entry.size_bytes:
                raise RemoteFileError(f"{entry.path} broke off after {copy.tell()} of {entry.size_bytes} bytes; retry")

    name = f"{SCHEME}{address.repository}/{entry.path}"
    place = f"{client.config.host}/{address.repository}/{entry.path}"
    version, called = f"{entry.checksum} {entry.size_bytes}", PurePosixPath(entry.path).name
    return FoundFile(kept_copy(place, version, download, name=called), name, address.ref)


def _client() -> "Client":
    missing = [name for name in _ENVIRONMENT if not os.environ.get(name)]
    if missing:
        raise RemoteFileError(f"{' and '.join(missing)} must be set in the environment")
    from lakefs.client import Client

    endpoint, access_key, secret_key = (os.environ[name] for name in _ENVIRONMENT)
    return Client(host=endpoint, username=access_key, password=secret_key)


@contextmanager
def _readable_errors(address: _Address) -> Iterator[None]:
    try:
        from lakefs.exceptions import ForbiddenException, LakeFSException, NotAuthorizedException, NotFoundException
        from urllib3.exceptions import HTTPError
    except ImportError as error:
        raise RemoteFileError("the package lakefs is not installed; install the extra lakefs") from error
    endpoint = without_secrets(os.environ.get("LAKEFS_ENDPOINT", ""))
    try:
        yield
    except NotAuthorizedException as error:
        raise RemoteFileError(
            f"{endpoint} refuses the credentials; mend LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY"
        ) from error
    except ForbiddenException as error:
        raise RemoteFileError(
            f"LAKEFS_ACCESS_KEY may not read repository {address.repository!r}; let its user, or name another"
        ) from error
    except NotFoundException as error:
        raise RemoteFileError(
            f"{endpoint} has no repository {address.repository!r} with a branch, tag or commit {address.ref!r} "
            f"({error.body.get('message', 'not found')}); mend the pattern"
        ) from error
    except (HTTPError, ValueError) as error:  # nothing there, or something that answers in another tongue
        raise RemoteFileError(f"LAKEFS_ENDPOINT={endpoint} does not answer as LakeFS: {error}") from error
    except LakeFSException as error:
        raise RemoteFileError(f"{endpoint} answers with an error: {error}") from error
