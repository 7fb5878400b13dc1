"""LLaMA-Factory's registry of data sets, `dataset_info.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.config_import.values import Unusable

_FILE = "dataset_info.json"


@dataclass(frozen=True)
class DatasetInfo:
    """The registry of a data folder; `entries` is None where no dataset_info.json was found.

    `online` is LLaMA-Factory's `dataset_dir: ONLINE`: names are those of hub data sets, in the alpaca layout.
    """

    folder: Path
    entries: dict[str, dict[str, Any]] | None
    online: bool = False

    @classmethod
    def find(cls, folder: str, config: Path) -> "DatasetInfo":
        """Look for the registry in `folder`, from the config and from the working directory, and beside the config.

        Raises Unusable if it is no registry, or lies on the hub.
        """
        if folder == "ONLINE":
            return cls(config.parent, None, online=True)
        if folder.startswith("REMOTE:"):
            raise Unusable(f"{folder} is on the hub; download its {_FILE} and data, and name their folder")
        for place in (config.parent / folder, Path(folder), config.parent):
            file = place / _FILE
            if file.is_file():
                return cls(place, _entries(file))
        return cls(config.parent, None)

    def entry(self, name: str) -> dict[str, Any]:
        """Return the entry of a data set. Raises Unusable if there is none."""
        if self.online:
            return {"hf_hub_url": name}
        found = (self.entries or {}).get(name)
        if found is not None:
            return found
        where = (
            f"{self.folder / _FILE} has {', '.join(sorted(self.entries))}"
            if self.entries
            else f"no {_FILE} in dataset_dir or {self.folder}"
        )
        raise Unusable(
            f"data set not found: {where}. Add it there, set dataset_dir, or name a hub data set (owner/name)"
        )


def _entries(file: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise Unusable(
            f"{file}:{error.lineno}: is no JSON: {error.msg} (column {error.colno}); mend that line"
        ) from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    if not isinstance(entries, dict):
        raise Unusable(f"{file}: must be an object of data sets by name, and is a {type(entries).__name__}")
    wrong = [name for name, entry in entries.items() if not isinstance(entry, dict)]
    if wrong:
        raise Unusable(f'{file}: {wrong[0]}: must be an object such as {{"file_name": ...}}; mend the entry')
    return entries
