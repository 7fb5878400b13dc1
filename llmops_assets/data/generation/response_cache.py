"""Responses by the hash of their request: a second build asks nothing, and one that broke off goes on."""

import json
from pathlib import Path
from typing import Any

from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.jsonl import write_json


class ResponseCache:
    """A folder with one file for each response, which appears whole or not at all; builds may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Completion | None:
        """Return the response to the request with that hash; None if there is none that can be read."""
        try:
            entry: Any = json.loads(self._file(key).read_text(encoding="utf-8"))
            return Completion(**entry["completion"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, key: str, generator: str, request: ChatRequest, completion: Completion) -> None:
        """Keep a response, with its request for people who want to know what was asked."""
        entry = {"generator": generator, "request": request.to_row(), "completion": completion.to_row()}
        # Prompts may hold what the corpus or the seeds hold: the folder is closed to others before a file is in it.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        write_json(self._file(key), entry)

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
