"""Self-Instruct (Wang et al. 2022, arXiv 2212.10560): a model extends a pool of tasks, and then solves them.

In rounds: prompts are made from the pool, what comes back is filtered against it, each accepted instruction is
classified, and its instances are asked for. The paper does one step for the whole set before the next; in rounds a
budget that ends leaves whole rows.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmops_assets.data.generation.asking import Asker
from llmops_assets.data.generation.generated_set import (
    GeneratedSetSummary,
    first_words,
    rouge_bands,
    spent_by,
    unusable,
    write_generated_set,
)
from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.generation.specs import InstructionsSpec, SamplingSpec
from llmops_assets.data.generation.stopping import AcceptRate
from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Message, QuarantinedRecord, Reason
from llmops_assets.data.self_instruct import prompts
from llmops_assets.data.self_instruct.instance_filters import sift
from llmops_assets.data.self_instruct.instruction_filters import reason_to_reject
from llmops_assets.data.self_instruct.instruction_pool import InstructionPool, Nearest, PoolEntry, folded_words
from llmops_assets.data.self_instruct.parsing import Instance, instances_of, numbered_items, yes_or_no
from llmops_assets.data.self_instruct.seeds import Seed, read_seeds
from llmops_assets.data.sources.remote_files import without_secrets
from llmops_assets.data.splits import draw, pick
from llmops_assets.errors import LlmopsError

METHOD = "self_instruct"
_SHOWN_SEEDS = 3


class TooFewSeeds(LlmopsError):
    """The seeds are fewer than one prompt shows."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """An accepted instruction with where it came from."""

    id: str
    text: str
    nearest: Nearest
    nearest_seed: Nearest
    request: ChatRequest
    round: int


def build_instructions(spec: InstructionsSpec, asker: Asker, base_dir: Path, out_dir: Path) -> GeneratedSetSummary:
    """Write rows.jsonl and quarantine.jsonl into `out_dir`.

    Which instructions go into prompt number n depends on the seed and the pool alone, and the pool grows in the order
    of prompts. So equal responses give equal bytes, whatever the order in which they arrive.

    Raises MissingSourceError, TooFewSeeds, TooFewAccepted, and what the generator raises when it gives up.
    """
    pipeline = _SelfInstruct(spec, asker, base_dir)
    while (stopped := pipeline.stopped) is None:
        pipeline.play_round()
    return write_generated_set(out_dir, pipeline.rows, pipeline.quarantine, pipeline.summary(stopped), spec)


class _SelfInstruct:
    def __init__(self, spec: InstructionsSpec, asker: Asker, base_dir: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self.quarantine = Quarantine()
        self._spec = spec
        self._asker = asker
        self._pool = InstructionPool()
        self._accepted: list[Instruction] = []
        self._counts: Counter[str] = Counter()
        self._rates = (AcceptRate("instructions", spec), AcceptRate("instances", spec))
        self._round = 0
        for record in read_seeds(spec.seeds, base_dir):
            self.quarantine.read[spec.seeds.name] += 1
            if isinstance(record, Seed):
                self._pool.add(record.id, record.instruction, human=True)
            else:
                self.quarantine.add(record)
        if len(self._pool.entries) < spec.human_examples:
            raise TooFewSeeds(self._too_few())
        self._counts["seeds"] = len(self._pool.entries)
        self._counts["rejected_seeds"] = self.quarantine.rejected(spec.seeds.name)

    def _too_few(self) -> str:
        spec, refused = self._spec, self.quarantine.rejected(self._spec.seeds.name)
        first = islice(self.quarantine.records, _SHOWN_SEEDS)
        shown = "; ".join(f"{record.origin_file}:{record.line}: {record.detail}" for record in first)
        return (
            f"instructions.seeds: {without_secrets(spec.seeds.pattern)} holds {len(self._pool.entries)} seeds that can "
            f"be used and {refused} that cannot{f' ({shown})' if shown else ''}; a prompt shows "
            f"human_examples = {spec.human_examples}: mend or add seeds, or lower human_examples"
        )

    @property
    def stopped(self) -> str | None:
        """Why to stop, as a sentence; None while there is more to do."""
        if len(self.rows) >= self._spec.target:
            return f"there are {len(self.rows)} rows, and the target is {self._spec.target}"
        return self._asker.exhausted or next((why for rate in self._rates if (why := rate.too_low)), None)

    def play_round(self) -> None:
        """Ask for instructions, their types, and their instances."""
        first = self._round * self._spec.prompts_per_round
        asked = [self._prompt(number) for number in range(first, first + self._spec.prompts_per_round)]
        accepted: list[Instruction] = []
        for request, completion in zip(asked, self._asker.ask(asked), strict=False):
            accepted += self._take_instructions(request, completion)
        self._accepted += accepted
        classified = self._classified(accepted)
        requests = [
            self._request(
                prompts.instances(instruction.text, self._spec.max_instances, classification=classification),
                self._spec.instance_sampling,
            )
            for instruction, classification in classified
        ]
        completions = self._asker.ask(requests)
        for number, (instruction, classification) in enumerate(classified):
            if number < len(completions):
                self._take_instances(instruction, classification, completions[number])
            else:
                verdict = Reason.NO_BUDGET, "no request left for its instances"
                self._reject(instruction.request, 0, verdict, instruction.text)
        self._round += 1

    def _prompt(self, number: int) -> ChatRequest:
        examples = self._examples(number)
        messages = prompts.new_instructions([entry.text for entry in examples], self._spec.new_per_prompt)
        return self._request(messages, self._spec.instruction_sampling)

    def _examples(self, number: int) -> list[PoolEntry]:
        """Return what prompt `number` shows: seeds and machine-written instructions, drawn by hash, shuffled by it."""
        spec = self._spec

        def key(entry: PoolEntry) -> str:
            return f"prompt {number}: {entry.id}"

        machine = [entry for entry in self._pool.entries if not entry.human]
        chosen = pick(machine, spec.machine_examples, spec.seed, key) if spec.machine_examples else []
        seeds = [entry for entry in self._pool.entries if entry.human]
        chosen += pick(seeds, spec.human_examples + spec.machine_examples - len(chosen), spec.seed, key)
        return sorted(chosen, key=lambda entry: draw(spec.seed, f"order {key(entry)}"))

    def _take_instructions(self, request: ChatRequest, completion: Completion) -> list[Instruction]:
        items = [normalize_text(item) for item in numbered_items(completion.answer)]
        if (verdict := unusable(completion)) is None and not items:
            verdict = Reason.NOT_UNDERSTOOD, "the response holds no numbered list"
        if verdict is not None:
            self._reject(request, 0, verdict, completion.answer, rate=0)
            return []
        accepted: list[Instruction] = []
        for number, text in enumerate(items, 1):
            if number > self._spec.new_per_prompt:
                verdict = Reason.NOT_ASKED_FOR, f"the prompt asks for new_per_prompt = {self._spec.new_per_prompt}"
                self._reject(request, number, verdict, text)
            elif completion.finish == "length" and number == len(items):
                # Alone in its response it counts as a try, or nothing would stop a generator that writes only such.
                verdict = Reason.TRUNCATED, "max_tokens cut the response in it"
                self._reject(request, number, verdict, text, rate=0 if number == 1 else None)
            elif (verdict := reason_to_reject(text, self._spec)) is not None:
                self._reject(request, number, verdict, text, rate=0)
            elif isinstance(found := self._compared(request, text), Instruction):
                self._rates[0].note(True)
                self._counts["instruction_tries"] += 1
                self._pool.add(found.id, text, human=False)
                accepted.append(found)
            else:
                self._reject(request, number, found, text, rate=0)
        self._counts["instructions"] += len(accepted)
        return accepted

    def _compared(self, request: ChatRequest, text: str) -> Instruction | tuple[Reason, str]:
        nearest, nearest_seed = self._pool.nearest(text), self._pool.nearest(text, seeds_only=True)
        assert nearest is not None and nearest_seed is not None, "there are seeds in the pool"
        if nearest.rouge >= self._spec.max_rouge:
            return Reason.TOO_SIMILAR, f"ROUGE-L {nearest.rouge:.2f} to {nearest.id}, at or above max_rouge"
        identity = "si-" + hashlib.sha256(text.encode()).hexdigest()[:16]
        return Instruction(identity, text, nearest, nearest_seed, request, self._round)

    def _classified(self, accepted: Sequence[Instruction]) -> list[tuple[Instruction, bool]]:
        """Return each instruction with whether it is a classification; without an answer it is treated as none."""
        one_word = SamplingSpec(max_tokens=self._spec.check_tokens)
        requests = [self._request(prompts.task_type(instruction.text), one_word) for instruction in accepted]
        answers = [yes_or_no(completion.answer) for completion in self._asker.ask(requests)]
        self._counts["classifications"] += sum(answer is True for answer in answers)
        self._counts["unclear_types"] += sum(answer is None for answer in answers)
        answers += [None] * (len(accepted) - len(answers))
        return [(each, answer is True) for each, answer in zip(accepted, answers, strict=True)]

    def _take_instances(self, instruction: Instruction, classification: bool, completion: Completion) -> None:
        found = instances_of(normalize_text(completion.answer), output_first=classification)
        if (verdict := unusable(completion)) is None and not found:
            verdict = Reason.NOT_UNDERSTOOD, "the response holds no instance"
        if verdict is not None:
            self._reject(instruction.request, 0, verdict, instruction.text, rate=1)
            return
        truncated = completion.finish == "length"
        kept, rejected = sift(found, classification=classification, truncated=truncated)
        for instance, reason, detail in rejected:
            shown = f"{instruction.text} | {instance.input} | {instance.output}"
            self._reject(instruction.request, 0, (reason, f"{instruction.id}: {detail}"), shown, rate=1)
        for number, instance in enumerate(kept, 1):
            if number > self._spec.max_instances:
                detail = f"{instruction.id}: the prompt asks for max_instances = {self._spec.max_instances}"
                shown = f"{instruction.text} | {instance.input} | {instance.output}"
                self._reject(instruction.request, 0, (Reason.NOT_ASKED_FOR, detail), shown)
                continue
            self._rates[1].note(True)
            self._counts["instance_tries"] += 1
            self.rows.append(self._row(instruction, number, instance, classification))

    def _row(self, instruction: Instruction, number: int, instance: Instance, classification: bool) -> dict[str, Any]:
        question = "\n\n".join(part for part in (instruction.text, instance.input) if part)
        messages = (Message("user", question), Message("assistant", instance.output))
        return {
            "id": f"{instruction.id}/{number}",
            "group": instruction.id,
            "messages": [message.to_row() for message in messages],
            "method": METHOD,
            "is_classification": classification,
            "generator": self._spec.generator.label,
            "generator_license": self._spec.generator_license,
            "license": self._spec.seeds.license,
            "prompt_sha256": instruction.request.prompt_hash,
            "seed": self._spec.seed,
            "round": instruction.round,
            "nearest": {"id": instruction.nearest.id, "rouge_l": round(instruction.nearest.rouge, 4)},
            "nearest_seed": {"id": instruction.nearest_seed.id, "rouge_l": round(instruction.nearest_seed.rouge, 4)},
        }

    def _request(self, messages: tuple[Message, ...], sampling: SamplingSpec) -> ChatRequest:
        return ChatRequest(messages, sampling, self._spec.seed)

    def _reject(
        self, request: ChatRequest, number: int, verdict: tuple[Reason, str], text: str, rate: int | None = None
    ) -> None:
        """Quarantine an item of the response to `request`; one that counts as a try has the number of its rate."""
        where = f"prompt/{request.prompt_hash[:16]}"
        self.quarantine.add(QuarantinedRecord(self._spec.generator.label, where, number, *verdict, excerpt(text)))
        if rate is not None:
            self._rates[rate].note(False)
            self._counts["instruction_tries" if rate == 0 else "instance_tries"] += 1

    def summary(self, stopped: str) -> GeneratedSetSummary:
        """Return the counts so far."""
        common, distinct = first_words(folded_words(instruction.text) for instruction in self._accepted)
        return GeneratedSetSummary(
            stopped=stopped,
            counts={**self._counts, "rounds": self._round, "rows": len(self.rows)},
            rejected=self.quarantine.by_reason(self._spec.generator.label),
            generators={self._spec.generator.label: len(self.rows)},
            licenses=sorted({self._spec.generator_license, self._spec.seeds.license}),
            spent=spent_by(self._asker),
            rouge_bands=rouge_bands(instruction.nearest_seed.rouge for instruction in self._accepted),
            first_words=common,
            distinct_first_words=distinct,
        )
