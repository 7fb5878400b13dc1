"""Where the new recipe goes, and how it names files from there."""

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The recipe file to be written; relative patterns of its sources start at its folder."""

    out: Path

    @property
    def name(self) -> str:
        """The lane's name, which is that of the file."""
        return self.out.stem

    def data_file(self, section: str, name: str) -> Path:
        """Return where the rows of data set `name`, converted for `section`, go: a folder beside the recipe.

        Sections may read a set of one name as different rows, or find it in data folders of their own.
        """
        return self.out.parent / f"{self.name}_data" / f"{section}-{source_name(name)}.jsonl"

    def pattern(self, file: Path) -> str:
        """Return `file` as a pattern of a source, relative to the recipe's folder."""
        return Path(os.path.relpath(file.resolve(), self.out.parent.resolve())).as_posix()


def source_name(name: str) -> str:
    """Return `name` as the name of a source: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "data"


def lane_name(file: Path) -> str:
    """Return the name of a lane after a config file: `My-SFT config.yaml` -> `my_sft_config`."""
    name = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_")
    return (name if name[:1].isalpha() else f"lane_{name}")[:63].rstrip("_")
