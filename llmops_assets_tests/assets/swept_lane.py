"""The tiny lane cut down to its SFT stage, with a sweep over the learning rate."""

from pathlib import Path
from typing import Any

import yaml

from llmops_assets_tests.assets.tiny_lane import TinyLane, make_tiny_lane

SWEEP, TABLE, POINT = "rates", "rates_sweep", "rates_sweep_point"


def make_swept_lane(root: Path, rates: list[float], **sweep: Any) -> TinyLane:
    """Write the lane under `root`; `sweep` changes or adds keys of the sweep."""
    lane = make_tiny_lane(root)
    content = yaml.safe_load(lane.recipe_file.read_text())
    for section in ("corpus", "cpt", "dpo", "preferences"):
        del content[section]
    content["sft"] |= {"validation_share": 0.1, "backend": "plain"}
    content["sweeps"] = {SWEEP: {"stage": "sft", "grid": {"learning_rate": rates}, "max_steps": 8} | sweep}
    lane.recipe_file.write_text(yaml.safe_dump(content))
    return lane
