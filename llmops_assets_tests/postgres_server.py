"""A throw-away PostgreSQL server for tests, on a Unix socket only, run as an unprivileged user."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def server_binaries() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, newest Debian version first; None when PostgreSQL is not installed."""
    found = shutil.which("pg_ctl")
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    candidates = [Path(found)] if found else packaged[::-1]
    return candidates[0].resolve().parent if candidates and (candidates[0].parent / "initdb").exists() else None


def unprivileged_user() -> str | None:
    """The account that the server runs under: ourselves, or `postgres` when we are root; None if there is none."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else None


@contextmanager
def running_server(binaries: Path, user: str) -> Iterator[str]:
    """Start a server and yield its URL without a database name, ending in `host=<socket folder>&dbname=`."""
    become = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    home = Path(tempfile.mkdtemp(prefix="llmops-pg-"))
    try:
        if become:
            shutil.chown(home, user)
        data, log = home / "data", home / "log"

        def run(*command: str) -> None:
            done = subprocess.run([*become, *command], cwd=home, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, (
                f"{command}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}"
            )

        run(str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {home} -c listen_addresses='' -c fsync=off"
        run(str(binaries / "pg_ctl"), "-D", str(data), "-l", str(log), "-o", options, "-w", "start")
        try:
            yield f"postgresql://tester@/{{database}}?host={quote(str(home), safe='')}"
        finally:
            run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home)
