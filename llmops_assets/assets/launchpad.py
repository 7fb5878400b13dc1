"""One schema for recipe and launchpad: a spec becomes an asset's config with the recipe's values as defaults."""

from copy import copy
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ValidationError, create_model

from llmops_assets.errors import LlmopsError

Spec = TypeVar("Spec", bound=BaseModel)


class LaunchpadError(LlmopsError):
    """A value typed into the launchpad (or a run config file) that the stage cannot use."""


def launchpad_config(spec: BaseModel, *, leave_out: frozenset[str] = frozenset()) -> type[dg.Config]:
    """Return a Dagster config class with the fields of `spec`, its values as defaults, its types and descriptions.

    Fields in `leave_out` (nested lists of sources, which the launchpad cannot edit) keep the recipe's value.
    """
    fields: dict[str, Any] = {}
    for name, info in type(spec).model_fields.items():
        if name in leave_out:
            continue
        field = copy(info)
        field.default, field.default_factory = getattr(spec, name), None
        fields[name] = (info.annotation, field)
    return create_model(f"{type(spec).__name__}Config", __base__=dg.Config, **fields)


def part_of(spec: BaseModel, schema: type[Spec]) -> Spec:
    """Return the fields of `schema` out of a `spec` that joins several for the launchpad."""
    return schema.model_validate({name: getattr(spec, name) for name in schema.model_fields})


def resolved(spec: Spec, config: dg.Config) -> Spec:
    """Return `spec` with the launchpad's values, validated as the recipe was.

    Raises:
        LaunchpadError: a value is out of bounds or two values contradict each other; names the key.
    """
    try:
        return type(spec).model_validate({**spec.model_dump(), **config.model_dump()})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
        raise LaunchpadError(f"run config: {problems}; correct the value and launch again") from error
