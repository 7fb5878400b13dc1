"""Prompts for preference battles, drawn from the training side of an SFT set."""

import json
from pathlib import Path

from llmops_assets.data.splits import pick


def preference_prompts(sft_train_file: Path, count: int, seed: int) -> list[list[dict[str, str]]]:
    """Return up to `count` prompts: a system turn, if any, and the first user turn; drawn by hash, none twice.

    They come from train.jsonl only, so that no battle, and no preference pair made from it, is about a held-out group.
    """
    prompts: dict[str, list[dict[str, str]]] = {}
    with sft_train_file.open(encoding="utf-8") as stream:
        for line in stream:
            prompt: list[dict[str, str]] = []
            for message in json.loads(line)["messages"]:
                prompt.append({"role": message["role"], "content": message["content"]})
                if message["role"] == "user":
                    break
            prompts.setdefault(prompt[-1]["content"], prompt)
    return [prompts[question] for question in pick(prompts, count, seed, key=str)]
