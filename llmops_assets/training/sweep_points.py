"""Sweeps: a grid or a list in the recipe becomes points, each the settings of one training on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from llmops_assets.training.identity import RUNTIME_ONLY, identity_of
from llmops_assets.training.preparation.job import PreparationSpec
from llmops_assets.training.reference.job import ReferenceSpec
from llmops_assets.training.specs import AnyStageSpec, DpoSpec, KdSpec, Stage
from llmops_assets.training.sweep_metrics import Goal, better_end, complaint_about

Location = tuple[str | int, ...]

# Ops and jobs are named `<recipe>__<sweep>_...`: without `__` in a sweep's name, both names can be told from that.
SweepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=41)]

# `dagster job backfill --partitions` and the UI's partition field split what is typed into them at commas.
SEPARATOR = ":"
_LONGEST_VALUE = 32

_FIXED = "{!r} needs other rows, or another reference or teacher, than the other points; set it in the stage's section"
_WATCHED = "changes where a training runs or how it is watched, not what comes out of it"
NOT_SWEPT: Mapping[str, str] = {
    "stage": "names the stage that the sweep trains; it is a key of the sweep",
    "eval_every": "decides when validation losses are taken, and points are compared by what was measured alike",
    **dict.fromkeys(sorted(RUNTIME_ONLY), _WATCHED),
}


class SweepSpec(BaseModel):
    """Several trainings of one stage, told apart by a few settings and compared by one figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Stage = Field(description="The stage whose settings all points start from.")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default={}, description="Values by key of the stage; every combination of them is a point."
    )
    points: list[Annotated[dict[str, Any], Field(min_length=1)]] = Field(
        default=[], description="In place of a grid: the settings of each point, by key of the stage."
    )
    metric: str = Field(
        default="eval_loss", min_length=1, description="Figure of a training, as in its metrics, that ranks the points."
    )
    goal: Goal | None = Field(
        default=None, description="Whether the lowest or the highest is the best; by default what the metric implies."
    )
    max_steps: int | None = Field(
        default=None, gt=0, description="Quick mode: optimizer steps at most, in place of the stage's own."
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "SweepSpec":
        if bool(self.grid) == bool(self.points):
            raise ValueError("a sweep has either a grid or a list of points")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept keys, in the order in which the recipe first names them."""
        named = [*self.grid, *(key for point in self.points for key in point)]
        return tuple(dict.fromkeys(named))

    @property
    def best(self) -> Goal:
        """Which end of the metric is the best."""
        return self.goal or better_end(self.metric) or "min"


@dataclass(frozen=True)
class SweepPoint:
    """One training of a sweep."""

    name: str
    settings: dict[str, Any]
    spec: AnyStageSpec


def sweep_points(sweep: SweepSpec, stage: AnyStageSpec) -> tuple[SweepPoint, ...]:
    """Return the points of `sweep` over the settings of `stage`; of a grid the last key changes fastest.

    A name is made of the point's settings alone (`learning_rate=1e-05:lora_r=8`), so that it stays what it is when
    other points come and go.

    Raises:
        ValidationError: a key that the stage does not have or that cannot be swept, a value that it cannot use, a point
            given twice, a metric that no training would report. All problems at once; each is located inside `sweep`.
    """
    problems = [*_unfit_keys(sweep, stage), *_unfit_metric(sweep, stage)]
    points: list[SweepPoint] = []
    for settings, where in () if problems else _combinations(sweep):
        try:
            point = _point(sweep, stage, settings)
        except ValidationError as error:
            problems += [_relocated(dict(details), settings, where) for details in error.errors()]
            continue
        location = where.get("", ("grid", *list(settings)[:1]))
        before = _decided_before(stage)
        fixed = [
            key for key in settings if _decided_before(stage.model_copy(update={key: point.settings[key]})) != before
        ]
        if fixed:
            problems += [_problem(where[key], _FIXED.format(point.settings[key]), point.settings[key]) for key in fixed]
            continue
        twin = next((other for other in points if _same_training(other, point)), None)
        if twin is not None:
            again = "is given twice" if twin.name == point.name else f"is the same training as {twin.name}"
            problems.append(_problem(location, f"{point.name} {again}; remove one", settings))
        points.append(point)
    if problems:
        unique = {(problem.get("loc"), str(problem["type"])): problem for problem in problems}
        raise ValidationError.from_exception_data("SweepSpec", list(unique.values()))
    return tuple(points)


def check_sweeps(sweeps: Mapping[str, SweepSpec], stages: Mapping[Stage, AnyStageSpec | None]) -> None:
    """Check that every sweep fits the stage that it names; for a validator of the recipe, under the key `sweeps`.

    Raises:
        ValidationError: as `sweep_points`, or a stage that the recipe does not have; located from `sweeps` on.
    """
    problems: list[InitErrorDetails] = []
    for name, sweep in sweeps.items():
        stage = stages.get(sweep.stage)
        if stage is None:
            sentence = f"the recipe has no stage {sweep.stage}; add its section or name another stage"
            problems.append(_problem(("sweeps", name, "stage"), sentence, sweep.stage))
            continue
        try:
            sweep_points(sweep, stage)
        except ValidationError as error:
            problems += [
                _problem(("sweeps", name, *details["loc"]), details["msg"], details["input"])
                for details in error.errors()
            ]
    if problems:
        raise ValidationError.from_exception_data("Recipe", problems)


def _unfit_keys(sweep: SweepSpec, stage: AnyStageSpec) -> list[InitErrorDetails]:
    named: list[tuple[str, Location]] = [(key, ("grid", key)) for key in sweep.grid]
    named += [(key, ("points", index, key)) for index, point in enumerate(sweep.points) for key in point]
    problems = []
    for key, location in named:
        if key not in type(stage).model_fields:
            problems.append(_problem(location, f"is no key of stage {sweep.stage}; correct its spelling", key))
        elif key in NOT_SWEPT:
            problems.append(_problem(location, f"cannot be swept: it {NOT_SWEPT[key]}", key))
        elif key == "max_steps" and sweep.max_steps is not None:
            problems.append(_problem(location, "is swept, and max_steps of the sweep would undo that; keep one", key))
    return problems


def _unfit_metric(sweep: SweepSpec, stage: AnyStageSpec) -> list[InitErrorDetails]:
    complaint = complaint_about(sweep.metric, sweep.goal, stage)
    return [] if complaint is None else [_problem(("metric",), complaint, sweep.metric)]


def _same_training(one: SweepPoint, other: SweepPoint) -> bool:
    """Return whether two points would share a partition, or one adapter in the artifact store."""
    return one.name == other.name or identity_of(one.spec.model_dump()) == identity_of(other.spec.model_dump())


def _decided_before(spec: AnyStageSpec) -> tuple[Any, ...]:
    """Return what is computed from `spec` before training: rows, the reference's log-probs, the teacher's logits."""
    decided: tuple[Any, ...] = (PreparationSpec.of(spec),)
    if isinstance(spec, DpoSpec):
        decided += (spec.reference, ReferenceSpec.of(spec).model_dump(exclude={"batch_size"}))
    if isinstance(spec, KdSpec):
        decided += (spec.method, spec.top_k)
    return decided


def _combinations(sweep: SweepSpec) -> list[tuple[dict[str, Any], dict[str, Location]]]:
    """Return the settings of every point, each with where its values stand in the sweep (`""`: the point itself)."""
    if sweep.points:
        return [
            (point, {"": ("points", index)} | {key: ("points", index, key) for key in point})
            for index, point in enumerate(sweep.points)
        ]
    choices: list[list[tuple[str, int, Any]]] = [
        [(key, index, value) for index, value in enumerate(values)] for key, values in sweep.grid.items()
    ]
    return [
        (
            {key: value for key, _, value in chosen},
            {key: ("grid", key, index) for key, index, _ in chosen},
        )
        for chosen in product(*choices)
    ]


def _point(sweep: SweepSpec, stage: AnyStageSpec, settings: dict[str, Any]) -> SweepPoint:
    quick = {} if sweep.max_steps is None else {"max_steps": sweep.max_steps}
    spec = TypeAdapter(AnyStageSpec).validate_python({**stage.model_dump(), **quick, **settings})
    # The validated values, for YAML reads 1e-5 as a string.
    read = {key: getattr(spec, key) for key in settings}
    return SweepPoint(name=point_name(read), settings=read, spec=spec)


def point_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the point with these settings, fit for a partition key and a shell word.

    >>> point_name({"learning_rate": 1e-5, "lora_targets": ["q_proj", "v_proj"]})
    'learning_rate=1e-05:lora_targets=q_proj-v_proj'
    """
    return SEPARATOR.join(f"{key}={_short(value)}" for key, value in settings.items())


def _short(value: Any) -> str:
    text = "-".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    if len(text) > _LONGEST_VALUE:
        return f"{text[:_LONGEST_VALUE].rsplit('-', 1)[0]}-{sha256(text.encode()).hexdigest()[:6]}"
    return text


def _relocated(error: dict[str, Any], settings: dict[str, Any], where: dict[str, Location]) -> InitErrorDetails:
    """Turn an error of the stage's spec into one of the sweep, at the value of the recipe that causes it."""
    location: Location = tuple(part for part in error["loc"] if part not in ("cpt", "sft", "kd", "dpo", "kto"))
    sentence = error["msg"].removeprefix("Value error, ")
    if location and location[0] in where:
        return _problem((*where[str(location[0])], *location[1:]), sentence, error["input"])
    point = point_name(settings)
    return _problem(where.get("", ("grid", *list(settings)[:1])), f"{point}: {sentence}", settings)


def _problem(location: Location, sentence: str, value: Any) -> InitErrorDetails:
    kind = PydanticCustomError("sweep", "{sentence}", {"sentence": sentence})
    return InitErrorDetails(type=kind, loc=location, input=value)
