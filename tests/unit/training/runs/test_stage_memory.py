"""The memory of each stage, counted before it starts: sizes of a config, parts, what fits, and what to change."""

from __future__ import annotations

import json

import pytest

from training import configs
from training.core.memory.decoder_sizes import Decoder, common_decoder, decoder_of, decoder_of_folder
from training.core.memory.fitting import find_remedy, smallest_device
from training.core.memory.stage_counts import stage_memory
from training.core.memory.stage_memory import Hardware, StageMemory, sharded

GB = 1e9
LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
H100 = Hardware("cuda", 2, 80 * GB)


@pytest.fixture
def llama() -> Decoder:
    decoder = decoder_of(LLAMA_8B)
    assert decoder is not None
    return decoder


def memory_of(kind: str, decoder: Decoder, hardware: Hardware = H100, **options) -> StageMemory:
    stage = stage_memory(kind, decoder, vars(configs.parse(kind, options)), hardware)
    assert stage is not None
    return stage


def test_an_8b_has_the_parameters_that_its_card_says(llama):
    assert llama.parameters == 8_030_261_248
    assert llama.adapter_parameters(8, 32) == 20_971_520
    assert llama.cache_bytes(1, 2) == 131_072


def test_full_finetuning_takes_twenty_bytes_a_weight_and_lora_two(llama):
    full, lora = (memory_of("sft", llama, adapters=adapters, batch_size=64) for adapters in ("full", "lora"))
    assert full.during("taking a step") - full.standing["process"] == 20 * llama.parameters
    assert sum(lora.standing.values()) - H100.process == pytest.approx(2 * llama.parameters + 16 * 20_971_520)


def test_gradients_of_a_batch_in_one_part_are_made_as_its_activations_go(llama):
    whole = memory_of("sft", llama, adapters="full", batch_size=1).phases
    parts = memory_of("sft", llama, adapters="full", batch_size=64).phases
    assert whole["training"]["gradients"] == 0 and whole["taking a step"]["gradients"] == 4 * llama.parameters
    assert parts["training"]["gradients"] == 4 * llama.parameters


def test_saving_on_a_processor_holds_no_gradients_and_five_copies_of_the_largest_matrix(llama):
    stage = memory_of("sft", llama, Hardware("cpu", 2), adapters="full")
    assert "gradients" not in {**stage.standing, **stage.phases["saving"]}
    assert memory_of("sft", llama, Hardware("cpu", 2), adapters="lora").phases["saving"]["saved model"]
    small = decoder_of(LLAMA_8B | {"num_hidden_layers": 2})
    assert small is not None
    compared = memory_of("sft", small, Hardware("cpu", 2), adapters="full").phases["saving"]["weights compared"]
    assert compared == 28 * small.vocabulary * small.width


def test_dpo_of_every_weight_holds_what_sft_holds_and_no_second_model(llama):
    assert memory_of("dpo", llama, adapters="full").standing == memory_of("sft", llama, adapters="full").standing


def test_dpo_of_a_model_with_capped_or_biased_logits_holds_those_of_all_its_tokens(llama):
    """As its recipe plans: the model's own forward, on a processor without the layers that keep less."""
    options = {"max_prompt_tokens": 256, "max_completion_tokens": 256, "micro_batch_size": 1}
    options |= {"activation_checkpointing": "off"}
    for told in ({"final_logit_softcapping": 30.0}, {"model_type": "phi"}):
        capped = decoder_of(LLAMA_8B | told)
        assert capped is not None and not capped.reads_states and llama.reads_states
        for hardware, times in ((H100, 3), (Hardware("cpu", 2), 10)):
            plain, own = (memory_of("dpo", one, hardware, **options).phases["training"] for one in (llama, capped))
            assert own["logits"] == 1024 * llama.vocabulary * (4 * 2 + 4 * 4) > times * plain["logits"]
        assert own["activations"] == 1024 * capped.shape(32, 2, packed=False).bytes_per_token(512, recompute=False)


def test_adapters_in_the_top_keep_the_states_below_them_on_a_processor(llama):
    for kind in ("sft", "dpo", "kto"):
        kept = {
            (adapters, device): memory_of(kind, llama, Hardware(device, 2), adapters=adapters)
            .phases["training"]["states below what learns"]
            for adapters, device in (("top", "cpu"), ("lora", "cpu"), ("top", "cuda"))
        }  # fmt: skip
        assert kept == {("top", "cpu"): 2**29, ("lora", "cpu"): 0, ("top", "cuda"): 0}


def test_dpo_that_computes_activations_again_keeps_a_fraction_of_them(llama):
    one_pair = {"max_prompt_tokens": 2048, "max_completion_tokens": 2048, "micro_batch_size": 1}
    kept, again = (
        memory_of("dpo", llama, **one_pair, activation_checkpointing=choice).phases["training"]["activations"]
        for choice in ("off", "on")
    )
    assert again < kept / 8


@pytest.mark.parametrize("hardware", [H100, Hardware("cpu", 2)])
def test_a_reward_model_holds_the_answers_to_a_prompt_together_however_small_a_batch(llama, hardware):
    def during(phase: str, answers: int) -> float:
        options = {"method": "finetune", "max_prompt_tokens": 1500, "max_completion_tokens": 500, "batch_size": 2}
        config = vars(configs.parse("reward", options)) | {"answers": answers}
        stage = stage_memory("reward", llama, config, hardware)
        assert stage is not None
        return stage.phases[phase]["activations"]

    for phase in ("reading", "finetuning"):
        assert during(phase, 32) > 6 * during(phase, 2), "17,500 tokens beside 2,500"
    assert during("finetuning", 2) == during("finetuning", 0), "pairs, where nobody knows"


def test_pairs_on_a_processor_hold_their_prompt_once_and_its_attention_twice(llama):
    options = {"activation_checkpointing": "off", "max_completion_tokens": 64}
    long, short = (
        memory_of("dpo", llama, Hardware("cpu", 4), max_prompt_tokens=prompt, **options).phases["training"][
            "activations"
        ]
        for prompt in (448, 8)
    )
    assert long < 0.8 * 1024 * llama.shape(32, 4, packed=True).bytes_per_token(512, recompute=False)
    assert short > 0.9 * 1024 * llama.shape(32, 4, packed=True).bytes_per_token(72, recompute=False)


def test_the_peak_is_that_of_the_largest_phase(llama):
    stage = StageMemory({"weights": 5.0}, {"training": {"activations": 3.0}, "saving": {"saved model": 4.0}})
    assert stage.total == 9 and stage.peak_phase == "saving" and stage.during("training") == 8
    assert stage.parts == {"weights": 5.0, "saved model": 4.0}


def test_processes_share_rows_and_not_weights(llama):
    one, eight = (memory_of("sft", llama, Hardware(), adapters="full", processes=n) for n in (1, 8))
    assert one.standing == eight.standing
    assert one.phases["training"]["activations"] == pytest.approx(8 * eight.phases["training"]["activations"])


def test_full_sharding_divides_weights_gradients_and_optimiser_alone(llama):
    stage = memory_of("sft", llama, adapters="full")
    part = sharded(stage, llama, 8, 2)
    assert part.standing["optimiser"] == stage.standing["optimiser"] / 8
    assert part.standing["process"] == stage.standing["process"]
    assert part.phases["taking a step"]["gradients"] == stage.phases["taking a step"]["gradients"] / 8
    assert part.phases["training"]["activations"] == stage.phases["training"]["activations"]
    assert part.standing["gathered blocks"] == 2 * (2 * llama.block + llama.vocabulary * llama.width)
    assert sharded(stage, llama, 1, 2) == stage


def test_checkpointing_and_smaller_batches_are_what_shrinks_activations(llama):
    def activations(**options) -> float:
        stage = memory_of("pretrain", llama, Hardware(), context_length=2048, **options)
        return stage.phases["training"]["activations"]

    assert activations(activation_checkpointing="on") < activations(activation_checkpointing="off") / 8
    assert activations(micro_batch_size=1) < activations(micro_batch_size=8) / 7


@pytest.mark.parametrize(
    ("kind", "options", "changes"),
    [
        ("sft", {"adapters": "full"}, {"adapters": "lora"}),
        ("dpo", {"adapters": "full"}, {"adapters": "lora"}),
        ("reward", {"method": "finetune"}, {"batch_size": 4}),
        ("ppo", {"adapters": "lora", "batch_size": 1024, "max_new_tokens": 512}, {"batch_size": 128}),
    ],
)
def test_what_does_not_fit_has_the_cheapest_change_that_helps(llama, kind, options, changes):
    config = vars(configs.parse(kind, options | ({"reward_function": "a.b"} if kind == "ppo" else {})))
    stage = stage_memory(kind, llama, config, H100)
    assert stage is not None and stage.total > 0.8 * 80 * GB
    remedy = find_remedy(kind, llama, config, H100)
    assert remedy is not None and remedy.changes == changes
    assert remedy.total <= 0.8 * 80 * GB


@pytest.mark.parametrize("hardware", [Hardware("cpu", 4, 24 * GB), Hardware("cuda", 2, 80 * GB)])
def test_ppo_computes_and_draws_in_parts_whose_size_the_batch_does_not_set(llama, hardware):
    options = {"reward_function": "a.b", "adapters": "lora", "minibatches": 1}
    small, large = (memory_of("ppo", llama, hardware, **options, batch_size=n) for n in (256, 2048))
    assert small.phases["updates"] == large.phases["updates"]
    assert small.phases["sampling"] == large.phases["sampling"]
    assert small.phases["scoring"]["activations"] == large.phases["scoring"]["activations"]


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
@pytest.mark.parametrize("hardware", [Hardware("cpu", 4, 24 * GB), Hardware("cuda", 2, 80 * GB)])
def test_groups_are_learnt_from_in_parts_whose_size_the_batch_does_not_set(llama, kind, hardware):
    small, large = (memory_of(kind, llama, hardware, batch_size=n) for n in (256, 2048))
    assert small.phases["updates"] == large.phases["updates"]
    assert small.phases["sampling"] == large.phases["sampling"]
    by_hand = memory_of(kind, llama, hardware, batch_size=256, micro_batch_size=1)
    assert by_hand.phases["updates"]["activations"] < small.phases["updates"]["activations"] / 3


def test_a_group_on_a_processor_holds_its_prompt_once(llama):
    options = {"max_prompt_tokens": 480, "max_new_tokens": 32, "batch_size": 8}
    alone, together = (memory_of("grpo", llama, Hardware("cpu", 2), **options, group_size=n) for n in (2, 8))
    assert together.phases["updates"]["activations"] < 0.7 * alone.phases["updates"]["activations"]


def test_groups_have_a_reference_where_every_weight_learns_and_kl_or_a_reward_model_asks_for_it(llama):
    full = {"adapters": "full"}
    with_kl, with_neither, with_reward_model, lora = (
        memory_of("rloo", llama, **options).standing["reference"]
        for options in (
            full,
            full | {"beta": 0.0, "reward_function": "a.b"},
            full | {"beta": 0.0},
            {"adapters": "lora"},
        )
    )
    assert with_kl == with_reward_model == 2 * llama.parameters
    assert (with_neither, lora) == (0, 0)


def test_ppo_of_every_weight_multiplies_in_the_dtype_of_the_machine(llama):
    options = {"reward_function": "a.b", "adapters": "full"}
    wide, narrow = (memory_of("ppo", llama, Hardware(dtype_bytes=size), **options).standing for size in (4, 2))
    assert narrow["reference"] == wide["reference"] / 2 and narrow["master weights"] == wide["weights"]


def test_ppo_in_shares_has_the_whole_model_only_while_it_samples(llama):
    one = memory_of("ppo", llama, Hardware(), reward_function="a.b", adapters="lora")
    four = memory_of("ppo", llama, Hardware(), reward_function="a.b", adapters="lora", processes=4, sharding="full")
    assert four.phases["sampling"]["weights gathered to sample"] == 2 * llama.parameters
    assert not any("gathered" in name for phase in ("scoring", "updates") for name in four.phases[phase])
    assert four.standing["weights laid out to sample"] == 0 < one.standing["weights laid out to sample"]
    for phase in ("scoring", "updates"):
        assert one.phases[phase]["activations"] == pytest.approx(4 * four.phases[phase]["activations"])


def test_each_rollout_process_of_ppo_has_the_whole_model(llama):
    none, one, two = (memory_of("ppo", llama, reward_function="a.b", actors=n).standing for n in (0, 1, 2))
    assert none["rollout processes"] == 0 and one["rollout processes"] > one["weights"]
    more = two["rollout processes"] - one["rollout processes"]
    assert one["weights"] < more < one["rollout processes"], "the rows are shared, and their caches"


def test_what_nothing_helps_has_no_remedy(llama):
    config = vars(configs.parse("sft", {}))
    assert find_remedy("sft", llama, config, Hardware("cuda", 2, 4 * GB)) is None
    assert smallest_device(20 * GB) == 32 and smallest_device(1000 * GB) is None


def test_kinds_that_are_not_counted_have_no_memory(llama):
    assert stage_memory("best_of", llama, vars(configs.parse("best_of", {})), H100) is None


def test_a_folder_tells_its_sizes_and_an_adapter_its_base(tmp_path):
    base, child = tmp_path / "base", tmp_path / "child"
    for folder in (base, child):
        folder.mkdir()
    (base / "config.json").write_text(json.dumps(LLAMA_8B))
    (child / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert decoder_of_folder(base) == decoder_of(LLAMA_8B) == decoder_of_folder(child)


def test_weights_elsewhere_count_as_a_common_model_of_that_size(tmp_path):
    decoder = decoder_of_folder(tmp_path / "nowhere", 8_000_000_000)
    assert decoder is not None and not decoder.is_exact
    assert (decoder.width, decoder.layers, decoder.parameters) == (4096, 32, 8_000_000_000)
    assert common_decoder(100) is None and decoder_of_folder(None) is None


@pytest.mark.parametrize("text", ["{}", "no JSON", "[1]"])
def test_a_config_that_tells_nothing_is_no_decoder(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert decoder_of_folder(tmp_path) is None


def test_processes_share_the_examples_of_a_forward_pass_of_dpo(llama):
    one, four = (memory_of("dpo", llama, Hardware(), batch_size=8, processes=n) for n in (1, 4))
    assert four.during("training") < one.during("training")
    assert four.phases["training"]["activations"] * 4 == one.phases["training"]["activations"]


def test_ppos_held_out_answers_take_their_caches_where_they_are_drawn_beside_the_batch(llama):
    def caches(**options) -> float:
        options = {"batch_size": 32, "calibration_episodes": 32, **options}
        return memory_of("ppo", llama, H100, **options).phases["sampling"]["key-value cache"]

    assert caches(held_out_prompts=16) == 1.5 * caches(held_out_prompts=0)
    assert caches(held_out_prompts=16, processes=2) == caches(held_out_prompts=0, processes=2)
