"""LLaMA-Factory's registry of data sets, `dataset_info.json`."""

from dataclasses import dataclass
from pathlib import Path

from llmops_assets.config_import.values import Unusable
from llmops_assets.data.sources.registry.entries import Entry, parsed_entries

_FILE = "dataset_info.json"


@dataclass(frozen=True)
class DatasetInfo:
    """The registry of a data folder; `entries` is None where no dataset_info.json was found.

    `online` is LLaMA-Factory's `dataset_dir: ONLINE`: names are those of hub data sets, in the alpaca layout.
    """

    folder: Path
    entries: dict[str, Entry] | None
    online: bool = False

    @classmethod
    def find(cls, folder: str, config: Path) -> "DatasetInfo":
        """Look for the registry in `folder`, from the config and from the working directory, and beside the config.

        Raises RegistryError if it is no registry, and Unusable if it lies on the hub.
        """
        if folder == "ONLINE":
            return cls(config.parent, None, online=True)
        if folder.startswith("REMOTE:"):
            raise Unusable(f"{folder} is on the hub; download its {_FILE} and data, and name their folder")
        for place in (config.parent / folder, Path(folder), config.parent):
            file = place / _FILE
            if file.is_file():
                return cls(place, parsed_entries(file.read_bytes(), str(file)))
        return cls(config.parent, None)

    def entry(self, name: str) -> Entry:
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
