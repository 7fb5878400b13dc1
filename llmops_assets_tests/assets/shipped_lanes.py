"""The shipped recipes on the embedded base and small files of their kind: the same sections in seconds."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from llmops_assets.settings import configs_dir
from llmops_assets_tests.assets.tiny_lane import REPOSITORY, TinyLane

Row = dict[str, Any]


def make_shipped_lane(root: Path, name: str) -> TinyLane:
    """Write a Dagster home and the recipe `name`, shrunk, with its data under `root`."""
    for folder in ("home", "state", "configs/recipes", "data"):
        (root / folder).mkdir(parents=True)
    shutil.copytree(configs_dir() / "deepspeed", root / "configs" / "deepspeed")
    shutil.copy(REPOSITORY / "dagster.yaml", root / "home" / "dagster.yaml")
    recipe = shrunk(yaml.safe_load((REPOSITORY / "configs" / "recipes" / f"{name}.yaml").read_text()), root / "data")
    (root / "configs" / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return TinyLane(root)


def shrunk(recipe: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return the recipe with the embedded base, files under `data` as its sources, and three steps a stage.

    Everything else, such as ranks, schedules, dropout and the method of distillation, stays as it ships.
    """
    name = recipe["name"]
    small = {"device": "cpu", "precision": "fp32", "max_steps": 3, "max_length": 256, "batch_size": 2}
    often = {"gradient_accumulation": 1, "checkpoint_every": 3, "logging_steps": 1}
    result = {**recipe, "base_model": {"name": "embedded"}}
    for stage in ("cpt", "sft", "kd", "dpo"):
        if stage in recipe:
            result[stage] = {**recipe[stage], **small, **often}
    if "corpus" in recipe:
        source = _source(data / "documents.jsonl", [{"text": text} for text in _paragraphs(150)])
        result["corpus"] = {**recipe["corpus"], "sources": [source], "chunk_tokens": 255, "heldout_share": 0.2}
    if "sft_set" in recipe:
        rows = [_conversation(*turns) for turns in CONVERSATIONS[name]()]
        source = _source(data / "conversations.jsonl", rows)
        result["sft_set"] = {**recipe["sft_set"], "sources": [source], "max_tokens": 256, "eval_share": 0.2}
    if "teacher" in recipe:
        result["teacher"] = {"name": "embedded", "precision": "fp32", "batch_size": 4}
    if "preferences" in recipe:
        result["preferences"] = {**recipe["preferences"], "minimum": 10, "sealed_share": 0.4, "cooldown_minutes": 0}
    windows = {"perplexity_window": 128, "perplexity_stride": 64, "max_perplexity_tokens": 2000}
    result["evaluation"] = {**windows, "max_questions": 6, "max_new_tokens": 16}
    loose = {"rouge_l_margin": 1.0, "exact_match_margin": 1.0, "length_ratio": 1000.0}
    result["gate"] = {"min_examples": 2, "perplexity_ratio": 1000.0, "sft_perplexity_ratio": 1000.0, **loose}
    return result


def _source(file: Path, rows: list[Row]) -> dict[str, str]:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"kind": "files", "name": file.stem, "pattern": str(file)}


def _conversation(*contents: str) -> Row:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]}


def _paragraphs(count: int) -> list[str]:
    draw = random.Random(7)
    who = ("A patient", "One of the nurses", "The ward", "An older adult", "Each child", "The outpatient clinic")
    does = ("reported", "was given", "no longer needed", "asked for", "recovered after", "declined", "was taught about")
    what = ("insulin", "a chest film", "fluids by mouth", "aspirin", "a second opinion", "wound care", "iron tablets")
    when = ("at night", "on the third day", "before discharge", "without delay", "as the guideline says", "in March")

    def sentence(number: int) -> str:
        return f"{draw.choice(who)} {draw.choice(does)} {draw.choice(what)} {number} {draw.choice(when)}."

    return [" ".join(sentence(draw.randrange(10**6)) for _ in range(draw.randint(9, 14))) for _ in range(count)]


def _invoices() -> list[tuple[str, str]]:
    pairs = []
    for number in range(80):
        supplier, total = f"Supplier {number * 7 % 83}", f"{number * 13 + 10}.50"
        fields = {"invoice": str(1000 + number), "supplier": supplier, "total": total}
        pairs.append((f"INVOICE No. {1000 + number}\n{supplier} Ltd.\nAmount due: {total} EUR", json.dumps(fields)))
    return pairs


def _code_tasks() -> list[tuple[str, str]]:
    return [
        (f"Write a function add_{n} that adds {n} to its argument.", f"def add_{n}(x):\n    return x + {n}")
        for n in range(80)
    ]


def _formulas() -> list[tuple[str, str]]:
    return [(f"Sum the last {n} values of column c{n}.", f"FLOWROLL(c{n}, {n}, BACK)") for n in range(2, 82)]


def _chats() -> list[tuple[str, ...]]:
    return [
        (f"How do I open file {n}?", f"Call open({n}).", "And then?", f"Read file {n}, and close it.")
        for n in range(80)
    ]


CONVERSATIONS: dict[str, Callable[[], list[Any]]] = {
    "chat": _chats,
    "invoice_idp": _invoices,
    "codegen": _code_tasks,
    "dsl": _formulas,
}
