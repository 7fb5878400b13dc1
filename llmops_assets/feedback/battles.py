"""Writing battles and reading them back as they were shown."""

import json
import re
import secrets
import time
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select

from llmops_assets.feedback import versions
from llmops_assets.feedback.errors import BattleRefused
from llmops_assets.feedback.records import RECORD_ID, Battle, Message, Response
from llmops_assets.feedback.schema import battle as table
from llmops_assets.feedback.schema import message_blob
from llmops_assets.feedback.text_identity import (
    canonical_messages,
    comparison_key,
    prompt_hash,
    sha256_hex,
    text_hash,
)


def new_id() -> str:
    """A UUID version 7 (RFC 9562): ordered by millisecond, with 74 random bits, so that nobody guesses it."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (random_bits >> 62) << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    return str(UUID(int=value))


def add_battle(connection: Connection, battle: Battle, battle_id: str, created_at: datetime) -> bool:
    """Write a battle; False if the same battle is there under this id.

    Raises `UnknownVersion` for an unregistered adapter, `BattleRefused` if the id is malformed or
    belongs to another battle.
    """
    if not re.fullmatch(RECORD_ID, battle_id):
        raise BattleRefused(
            f"battle id {battle_id!r} is malformed; use up to 64 letters, digits, '.', '_', ':' or '-'."
        )
    if known := find_battle(connection, battle_id):
        if known[0] == battle:
            return False
        raise BattleRefused(
            f"battle {battle_id} is already recorded with other content; leave the id out to get a fresh one."
        )
    for side, response in (("left", battle.left), ("right", battle.right)):
        versions.require(connection, battle.deployment, response.version, f"{side} side of a battle")
    prompt, left, right = prompt_hash(battle.prompt), text_hash(battle.left.text), text_hash(battle.right.text)
    row = {
        "id": battle_id,
        "deployment": battle.deployment,
        "kind": battle.kind,
        "source": battle.source,
        "prompt_blob": add_text(connection, canonical_messages(battle.prompt)),
        "prompt_hash": prompt,
        "comparison_key": comparison_key(prompt, left, right),
        "seed": battle.seed,
        "gen_params_json": json.dumps(battle.generation, allow_nan=False, sort_keys=True),
        "created_at": created_at,
    }
    for side, response, digest in (("left", battle.left, left), ("right", battle.right, right)):
        row |= {
            f"response_{side}": add_text(connection, response.text),
            f"version_{side}": response.version,
            f"text_hash_{side}": digest,
            f"chars_{side}": len(response.text),
            f"finish_{side}": response.finish,
            f"tokens_{side}": response.tokens,
            f"total_ms_{side}": response.total_ms,
        }
    connection.execute(insert(table).values(row))
    return True


def find_battle(connection: Connection, battle_id: str) -> tuple[Battle, datetime] | None:
    """A battle as it was recorded, and when."""
    row = connection.execute(select(table).where(table.c.id == battle_id)).first()
    if row is None:
        return None
    wanted = [row.prompt_blob, row.response_left, row.response_right]
    found = connection.execute(select(message_blob).where(message_blob.c.id.in_(wanted))).all()
    texts = {blob.id: blob.body for blob in found}
    battle = Battle(
        deployment=row.deployment,
        prompt=[Message(**message) for message in json.loads(texts[row.prompt_blob])],
        left=_response(row, "left", texts),
        right=_response(row, "right", texts),
        seed=row.seed,
        generation=json.loads(row.gen_params_json),
        source=row.source,
    )
    return battle, row.created_at


def add_text(connection: Connection, text: str, salt: str = "") -> str:
    """Store a text once and return its address; a salt keeps the text apart, so that it can be erased alone."""
    address = sha256_hex(salt + text)
    if connection.execute(select(message_blob.c.id).where(message_blob.c.id == address)).first() is None:
        connection.execute(insert(message_blob).values(id=address, body=text))
    return address


def _response(row: Row[Any], side: str, texts: dict[str, str]) -> Response:
    values = row._mapping
    return Response(
        text=texts[values[f"response_{side}"]],
        version=values[f"version_{side}"],
        finish=values[f"finish_{side}"],
        tokens=values[f"tokens_{side}"],
        total_ms=values[f"total_ms_{side}"],
    )
