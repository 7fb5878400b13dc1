"""Which backend a DeepSpeed config of another system means."""

import json
import re
from pathlib import Path
from typing import Any

from llmops_assets.config_import.values import Unusable

_BACKENDS = {0: "ddp", 1: "zero1", 2: "zero2", 3: "zero3"}
_OFFLOAD = "moves state to the CPU, which a lane does not; use a file without offload and more or larger GPUs"


def backend_of(value: Any, config: Path) -> str:
    """Return the backend with the ZeRO stage of `value`, a DeepSpeed mapping or the path of a JSON file with one.

    A file that is not here is known by its name, as in `ds_z3_config.json`. Raises Unusable for offload, and where no
    stage can be told.
    """
    if isinstance(value, dict):
        return _of_mapping(value)
    if not isinstance(value, str):
        raise Unusable(f"must be a file name or a mapping, and is {value!r}")
    file = next((path for path in (config.parent / value, Path(value)) if path.is_file()), None)
    if file is not None:
        try:
            return _of_mapping(json.loads(file.read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise Unusable(f"{file}:{error.lineno}: is no JSON: {error.msg}; mend that line") from error
        except UnicodeDecodeError as error:
            raise Unusable(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    name = Path(value).name
    if "offload" in name:
        raise Unusable(f"{value} {_OFFLOAD}")
    stage = re.search(r"z(?:ero)?[_-]?([0-3])", name)
    if stage is None:
        raise Unusable(f"{value} is not here, and its name tells no ZeRO stage; put the file beside the config")
    return _BACKENDS[int(stage[1])]


def _of_mapping(values: Any) -> str:
    zero = values.get("zero_optimization", {}) if isinstance(values, dict) else None
    stage = zero.get("stage", 0) if isinstance(zero, dict) else None
    if not isinstance(zero, dict) or stage not in _BACKENDS:
        raise Unusable(f"zero_optimization.stage must be 0, 1, 2 or 3, and is {stage!r}")
    devices = [part.get("device", "none") for key, part in zero.items() if "offload" in key and isinstance(part, dict)]
    if any(device != "none" for device in devices):
        raise Unusable(f"zero_optimization {_OFFLOAD}")
    return _BACKENDS[stage]
