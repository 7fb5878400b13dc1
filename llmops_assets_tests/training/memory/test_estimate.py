"""Whole estimates of well-known base models, against figures that their tutorials give and plain reasoning."""

import pytest

from llmops_assets.training.memory.advice import changed_spec, proposals
from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.report import BadSize, advice, backend_matrix, lines_table, parse_size, shortage
from llmops_assets.training.memory.shapes import shape_of_config
from llmops_assets.training.specs import CptSpec, DpoSpec, KtoSpec, SftSpec
from llmops_assets_tests.training.memory.qwen import QWEN_1_5B_CONFIG

from .models import dpo, sft

LLAMA_3_8B = shape_of_config(
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    },
    "Llama-3-8B",
)
QWEN_1_5B = shape_of_config(
    QWEN_1_5B_CONFIG,
    "Qwen2.5-1.5B",
)
QWEN_7B = shape_of_config(
    {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
    },
    "Qwen2.5-7B",
)
GB = 1e9


def frugal(**settings: object) -> SftSpec:
    return sft(**{"batch_size": 1, "max_length": 2048, "activation_checkpointing": True, **settings})


def test_parameter_counts_are_the_published_ones() -> None:
    counts = {LLAMA_3_8B: 8_030_261_248, QWEN_1_5B: 1_543_714_304, QWEN_7B: 7_615_616_512}
    assert {shape: shape.parameters for shape in counts} == counts


def test_8b_base_takes_16_gb_in_bf16_and_about_20_gb_with_a_lora_of_rank_16() -> None:
    found = estimate(frugal(), LLAMA_3_8B)
    weights = found["base weights of the blocks"] + found["embedding, LM head, norms"]
    assert weights == pytest.approx(16 * GB, rel=0.01)
    assert 17 * GB < found.total < 21 * GB


def test_qlora_of_an_8b_base_fits_a_12_gb_gpu() -> None:
    assert 7 * GB < estimate(frugal(quantization="4bit"), LLAMA_3_8B).total < 11 * GB


def test_activations_of_7b_are_about_6_mb_per_token_without_checkpointing() -> None:
    found = estimate(frugal(activation_checkpointing=False), QWEN_7B)
    assert found["kept activations"] / 2048 == pytest.approx(6e6, rel=0.1)


def test_lines_add_up_and_dpo_needs_more_than_sft() -> None:
    settings = {"batch_size": 2, "max_length": 1024}
    sft_needs, dpo_needs = estimate(sft(**settings), QWEN_1_5B), estimate(dpo(**settings), QWEN_1_5B)
    assert sum(line.bytes for line in dpo_needs.lines) == dpo_needs.total
    assert dpo_needs["kept activations"] == pytest.approx(2 * sft_needs["kept activations"], rel=0.01)
    assert "reference policy" not in {line.name for line in dpo_needs.lines}


def test_full_fine_tuning_keeps_masters_and_moments_of_every_weight() -> None:
    full = sft(finetuning="full", activation_checkpointing=True, batch_size=1, max_length=2048)
    needs = estimate(full, QWEN_1_5B)
    assert needs["float32 masters"] == 4 * QWEN_1_5B.parameters
    assert needs["AdamW moments"] == 8 * QWEN_1_5B.parameters
    plain = estimate(full.model_copy(update={"backend": "plain"}), QWEN_1_5B)
    # Trained in float32 itself, where no engine keeps float32 masters.
    assert plain["base weights of the blocks"] == 2 * needs["base weights of the blocks"]
    assert "LoRA weights" not in {line.name for line in needs.lines}


def test_zero3_divides_the_base_among_its_ranks() -> None:
    alone = estimate(frugal(backend="zero3"), LLAMA_3_8B)
    four = estimate(frugal(backend="zero3", num_processes=4), LLAMA_3_8B)
    name = "base weights of the blocks"
    assert four[name] == pytest.approx(alone[name] / 4)
    assert "gathered parameters" not in {line.name for line in alone.lines}
    # DeepSpeed keeps up to 1e9 parameters gathered.
    assert 1.4 * GB < four["gathered parameters"] < 2.5 * GB


def test_advice_starts_with_what_changes_no_result_and_every_set_fits() -> None:
    spec = sft(batch_size=8, max_length=2048)
    found = proposals(spec, QWEN_7B, 24 * GB, gpus=1)
    first = found[0].updates
    assert first["activation_checkpointing"] is True
    assert first["batch_size"] * first["gradient_accumulation"] == 8
    assert set(first) == {"activation_checkpointing", "batch_size", "gradient_accumulation"}
    for proposal in found:
        changed = SftSpec.model_validate(spec.model_dump() | proposal.updates)
        assert estimate(changed, QWEN_7B).total == proposal.needed <= 24 * GB


def test_smallest_set_is_taken_a_single_change_where_one_is_enough() -> None:
    found = proposals(sft(batch_size=8, max_length=2048), QWEN_1_5B, 24 * GB, gpus=1)
    assert found[0].updates == {"activation_checkpointing": True}


def test_quantisation_comes_only_when_the_base_itself_is_too_large() -> None:
    found = proposals(frugal(), LLAMA_3_8B, 12.5 * GB, gpus=1)
    assert found[0].updates == {"quantization": "8bit"}
    smaller = proposals(frugal(), LLAMA_3_8B, 10 * GB, gpus=1)
    assert smaller[0].updates == {"quantization": "4bit"}


def test_more_gpus_become_ranks_that_train_on_the_same_rows() -> None:
    spec = frugal(gradient_accumulation=8)
    found = proposals(spec, LLAMA_3_8B, 14 * GB, gpus=4)
    first = found[0].updates
    assert first["backend"] == "zero3"
    assert first["num_processes"] * first["gradient_accumulation"] == 8
    assert all("num_processes" not in proposal.updates for proposal in proposals(spec, LLAMA_3_8B, 14 * GB, gpus=1))


FULL = sft(finetuning="full", backend="plain", precision="fp32", batch_size=8, max_length=2048)


def test_advice_for_full_fine_tuning_names_only_what_it_reads() -> None:
    needed = estimate(FULL, QWEN_1_5B).total
    for share in (0.9, 0.6, 0.4, 0.25):
        for proposal in proposals(FULL, QWEN_1_5B, share * needed, gpus=4):
            assert not {"quantization", "lora_r", "lora_alpha", "lora_targets"} & proposal.updates.keys()
            SftSpec.model_validate(FULL.model_dump() | proposal.updates)


def test_what_does_not_fit_is_told_for_full_fine_tuning_too() -> None:
    told = shortage(FULL, QWEN_7B, 24 * GB, 1, where="GPU 0")
    assert "stage sft needs about" in told
    assert "No change of the recipe makes it fit" in told


def test_matrix_of_full_fine_tuning_has_no_quantised_cells() -> None:
    rows = backend_matrix(FULL, QWEN_1_5B, 80 * GB).splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["plain", "zero1", "zero2", "zero3"]
    assert all(row.split()[2] == "GB" and row.split()[4:] == ["refused", "refused"] for row in rows[1:])


def test_micro_batch_of_kto_keeps_the_two_answers_that_its_kl_term_pairs() -> None:
    spec = KtoSpec(max_steps=1, learning_rate=0.1, batch_size=4, max_length=2048, activation_checkpointing=True)
    needed = estimate(spec, QWEN_7B).total
    sizes = {
        proposal.updates.get("batch_size", 4)
        for share in (0.99, 0.9, 0.8, 0.7, 0.5)
        for proposal in proposals(spec, QWEN_7B, share * needed, gpus=1)
    }
    assert sizes == {2, 4}


def test_change_that_a_recipe_refuses_is_none() -> None:
    assert changed_spec(FULL, {"quantization": "4bit", "precision": "bf16"}) is None
    assert changed_spec(frugal(backend="zero3"), {"quantization": "8bit"}) is None
    assert changed_spec(FULL, {"precision": "bf16"}) == FULL.model_copy(update={"precision": "bf16"})


def test_long_packed_row_pays_for_its_square_under_sdpa_and_eager_alone() -> None:
    def cpt(attention: str, **settings: object) -> float:
        spec = {"max_steps": 1, "learning_rate": 0.1, "batch_size": 4, "max_length": 4096, "attention": attention}
        return estimate(CptSpec.model_validate(spec | settings), QWEN_1_5B).total

    square = (4 * 4096) ** 2
    masks = 2 * QWEN_1_5B.layers * square
    assert cpt("sdpa") - cpt("segments") > masks
    assert cpt("auto") == cpt("segments") >= cpt("flash_attention_2") > cpt("segments", batch_size=3)
    assert cpt("eager") > 6 * QWEN_1_5B.heads * QWEN_1_5B.layers * square


def test_what_can_never_fit_is_said() -> None:
    assert proposals(frugal(), LLAMA_3_8B, 2 * GB, gpus=1) == []
    assert "No change of the recipe" in advice(frugal(), LLAMA_3_8B, 2 * GB, 1)


def test_shortage_names_needed_present_largest_and_changes() -> None:
    told = shortage(sft(batch_size=8, max_length=2048), QWEN_7B, 24 * GB, 1, where="GPU 0")
    assert "needs about 128.7 GB of memory on each GPU, GPU 0 has 24.0 GB" in told
    assert "largest: kept activations 104.5 GB" in told
    assert "These changes fit: activation_checkpointing: true" in told


def test_changes_of_the_lora_are_said_to_concern_every_stage() -> None:
    spec = DpoSpec(max_steps=1, learning_rate=0.1, lora_r=256, batch_size=1, max_length=256, quantization="4bit")
    needed = estimate(spec, QWEN_1_5B).total
    told = advice(spec.model_copy(update={"activation_checkpointing": True}), QWEN_1_5B, 0.6 * needed, 1)
    assert "lora_" in told
    assert "every stage of the recipe" in told


def test_tables_show_every_line_and_every_backend() -> None:
    table = lines_table(estimate(frugal(), LLAMA_3_8B))
    assert "base weights of the blocks" in table
    assert "total per GPU" in table
    rows = backend_matrix(frugal(), LLAMA_3_8B, 12 * GB).splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["plain", "zero1", "zero2", "zero3"]
    assert rows[1].split()[2::3] == ["GB", "GB", "GB"]
    assert rows[1].split()[3::3] == ["-", "+", "+"]
    assert "refused" in rows[-1]


@pytest.mark.parametrize(("text", "size"), [("24GB", 24 * 10**9), ("80 GiB", 80 * 2**30), ("512MiB", 2**29)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["24", "0GB", "many", "-3GB"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(BadSize, match="24GB, 80GiB or auto"):
        parse_size(text)
