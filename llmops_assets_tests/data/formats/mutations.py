"""Records that went wrong: keys lost, renamed and added, values of another type, texts of strange characters."""

import json
import random
from collections.abc import Iterator
from typing import Any

_STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    " \n",
    "\x00",
    "\u2028",
    "\ud7ff\uffff",
    "<|im_end|>",
    "\n\nHuman:",
    "\n\nAssistant: x\n\nHuman: y",
    '{"name": 1}',
    "[[]]",
    "[" * 2000,
    [],
    [[]],
    [None],
    [{}],
    {},
    {"role": "user"},
    {"role": [], "content": {}},
    {"from": "gpt", "value": ["x"]},
    {"type": "text", "text": 3},
    {"function": {"name": "f", "arguments": "{"}},
]
_KEYS = ["messages", "role", "content", "from", "value", "weight", "tools", "tool_calls", "system", "history", "winner"]
_KEYS += ["parent", "children", "message", "current_node"]
_MOST_CHANGES = 3


def mutated(record: dict[str, Any], count: int, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yield `count` copies of `record`, each with one to three changes anywhere inside it; the same for one seed."""
    chance = random.Random(seed)
    text = json.dumps(record)
    for _ in range(count):
        copy = json.loads(text)
        for _ in range(chance.randint(1, _MOST_CHANGES)):
            _change(copy, chance)
        yield copy


def _change(value: dict[str, Any], chance: random.Random) -> None:
    holder = chance.choice(list(_containers(value)))
    if isinstance(holder, list):
        _change_list(holder, chance)
        return
    key = chance.choice([*holder, *_KEYS])
    action = chance.random()
    if action < 0.2:
        holder.pop(key, None)
    elif action < 0.3 and key in holder:
        holder[chance.choice(_KEYS)] = holder.pop(key)
    else:
        holder[key] = _strange(chance)


def _change_list(holder: list[Any], chance: random.Random) -> None:
    at = chance.randrange(len(holder) + 1)
    if at == len(holder) or chance.random() < 0.2:
        holder.insert(at, _strange(chance))
    elif chance.random() < 0.4:
        holder.insert(at, holder.pop(chance.randrange(len(holder))))
    else:
        holder[at] = _strange(chance)


def _strange(chance: random.Random) -> Any:
    return json.loads(json.dumps(chance.choice(_STRANGE)))


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)
