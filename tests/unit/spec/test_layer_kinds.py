"""Does every kind of layer answer for itself, and does one that leaves an answer out fail to type-check?"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.memory.kv_fanout import KvTransferCost
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.memory.weights import weight_bytes
from paretosim.cost.operators.layer import LayerContext, add_attention
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.layers import ATTENTION_KINDS, Attention, LightningAttention, Mamba2
from paretosim.spec.model import ModelSpec, load_model
from paretosim.spec.parallelism import Parallelism, illegal
from paretosim.spec.precision import STATE_BYTES, Precision
from paretosim.spec.settings import DEFAULT

ROOT = Path(__file__).parents[3]
BF16 = Precision.of("bf16")

# huggingface.co/MiniMaxAI/MiniMax-M1-80k, config.json
MINIMAX_M1: dict[str, Any] = {
    "model_type": "minimax_m1", "attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 10, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 6144, "intermediate_size": 9216, "layernorm_full_attention_alpha": 3.5565588200778455,
    "layernorm_full_attention_beta": 1.0, "layernorm_linear_attention_alpha": 3.5565588200778455,
    "layernorm_linear_attention_beta": 1.0, "layernorm_mlp_alpha": 3.5565588200778455, "layernorm_mlp_beta": 1.0,
    "max_position_embeddings": 10240000, "num_attention_heads": 64, "num_experts_per_tok": 2, "num_hidden_layers": 80,
    "num_key_value_heads": 8, "num_local_experts": 32, "output_router_logits": False, "postnorm": True,
    "rms_norm_eps": 1e-05, "rope_theta": 10000000, "rotary_dim": 64, "router_aux_loss_coef": 0.001,
    "router_jitter_noise": 0.0, "shared_intermediate_size": 0, "shared_moe_mode": "sigmoid", "sliding_window": None,
    "tie_word_embeddings": False, "vocab_size": 200064,
}  # fmt: skip

# huggingface.co/ibm-granite/granite-4.0-h-small, config.json
GRANITE_4: dict[str, Any] = {
    "model_type": "granitemoehybrid", "attention_multiplier": 0.0078125, "embedding_multiplier": 12,
    "hidden_act": "silu", "hidden_size": 4096, "init_method": "mup", "intermediate_size": 768,
    "layer_types": ["attention" if layer in (5, 15, 25, 35) else "mamba" for layer in range(40)], "logits_scaling": 16,
    "mamba_chunk_size": 256, "mamba_conv_bias": True, "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_state": 128,
    "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128, "mamba_proj_bias": False,
    "max_position_embeddings": 131072, "normalization_function": "rmsnorm", "num_attention_heads": 32,
    "num_experts_per_tok": 10, "num_hidden_layers": 40, "num_key_value_heads": 8, "num_local_experts": 72,
    "position_embedding_type": "nope", "residual_multiplier": 0.22, "rms_norm_eps": 1e-05,
    "shared_intermediate_size": 1536, "tie_word_embeddings": True, "vocab_size": 100352,
}  # fmt: skip


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ModelSpec]:
    def load(config: dict[str, Any], **changes: Any) -> ModelSpec:
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        return load_model(tmp_path)

    return load


# --- two kinds from public facts ---------------------------------------------------------------------------------


def test_minimax_m1_has_the_published_size_and_seven_lightning_layers_to_one(read) -> None:
    model = read(MINIMAX_M1)
    assert {type(g.attention).__name__: g.count for g in model.layers} == {"LightningAttention": 70, "GqaAttention": 10}
    assert model.params == pytest.approx(456e9, rel=0.002)
    assert model.active_params - model.embedding_params == pytest.approx(45.9e9, rel=0.002)  # MiniMax-01 report, 1
    assert model.kv_elements_per_token == 10 * 2 * 8 * 128
    assert model.state_elements == 70 * 64 * 128 * 128


@pytest.mark.parametrize(
    ("changes", "gib"),
    [
        ({}, 59.99),  # sizes of the safetensors files in bf16
        (
            {
                "hidden_size": 1536, "intermediate_size": 512, "shared_intermediate_size": 1024,
                "num_local_experts": 64, "num_experts_per_tok": 6, "mamba_n_heads": 48, "num_attention_heads": 12,
                "num_key_value_heads": 4,
            },
            12.93,
        ),  # granite-4.0-h-tiny
    ],
)  # fmt: skip
def test_granite_4_hybrids_have_the_size_of_their_checkpoints(read, changes: dict[str, Any], gib: float) -> None:
    model = read(GRANITE_4, **changes)
    assert {type(g.attention).__name__: g.count for g in model.layers} == {"Mamba2": 36, "GqaAttention": 4}
    assert 2 * model.params == pytest.approx(gib * 2**30, rel=0.001)


def test_a_mamba_layer_keeps_its_matrices_and_the_tail_of_its_convolution(read) -> None:
    model = read(GRANITE_4)
    assert model.state_elements == 36 * (128 * 64 * 128 + (128 * 64 + 2 * 128) * 3)
    assert model.kv_elements_per_token == 4 * 2 * 8 * 128


def test_a_granite_without_experts_has_the_shared_block_alone(read) -> None:
    model = read(GRANITE_4, num_local_experts=0, num_experts_per_tok=0, intermediate_size=512)
    assert [g.ffn.inter for g in model.layers] == [1536, 1536]


@pytest.mark.parametrize("config", [MINIMAX_M1, GRANITE_4], ids=["lightning", "mamba2"])
def test_a_recurrent_layer_is_cut_by_heads_and_never_by_tokens(read, store: Store, config: dict[str, Any]) -> None:
    model, gpu = read(config), store.gpu("h200_sxm")
    assert illegal(Parallelism(8), model, gpu) is None
    assert "pass their state" in (illegal(Parallelism(4, cp=2), model, gpu) or "")
    recurrent = next(g.attention for g in model.layers if not g.attention.cuts_prompts)
    assert "does not divide the" in (recurrent.illegal_tp(48) or "")


def test_b_and_c_of_a_group_are_copied_to_every_gpu() -> None:
    kind = Mamba2(heads=128, head_dim=64, groups=1, state_dim=128, conv=4)
    shared = 2 * 128 * (4096 + 4)
    assert kind.params_per_gpu(4096, 8) == (kind.params(4096) - shared) / 8 + shared
    assert kind.params_per_gpu(4096, 1) == kind.params(4096)
    assert "groups" in (Mamba2(128, 64, 8, 128, 4).illegal_tp(16) or "")


def test_states_are_part_of_the_memory_and_of_the_hand_over(read, store: Store) -> None:
    model, one, two = read(MINIMAX_M1), Parallelism(8), Parallelism(4, 2)
    state = 70 * 64 * 128 * 128 * STATE_BYTES
    cost = KvTransferCost(model, BF16, one, one)
    assert cost.sent_bytes(1000) == 1000 * 10 * 2 * 8 * 128 * 2 + state
    assert KvTransferCost(model, BF16, two, one).sent_bytes(1000) == cost.sent_bytes(1000)
    memory = MemoryModel.of(model, BF16, store.engine("vllm"), one, store.gpu("h200_sxm"))
    assert memory.kv_bytes(0) == state / 8


@pytest.mark.parametrize("config", [MINIMAX_M1, GRANITE_4], ids=["lightning", "mamba2"])
def test_what_nobody_timed_costs_time_and_does_not_count_as_measured(read, store: Store, config) -> None:
    model = read(config)
    step = compile_step(model, BF16, Kernels.of(store, "h200_sxm", "vllm"), Parallelism(8))
    for phase in ("decode", "prefill"):
        parts = step.breakdown(phase, 16, 4096)
        scan = next(timed for name, timed in parts.items() if name in ("lightning attention", "state-space scan"))
        assert scan.seconds > 0
        assert scan.measured == 0
    states = model.state_elements * STATE_BYTES / 8
    floor = 2 * 16 * states * 0.9 / store.gpu("h200_sxm").hbm_bytes_per_s  # read and written; convolutions are less
    decode = step.breakdown("decode", 16, 4096)
    assert sum(decode[name].seconds for name in ("lightning attention", "state-space scan") if name in decode) > floor


# --- all kinds ----------------------------------------------------------------------------------------------------


def kinds() -> list[tuple[str, Attention, int]]:
    from paretosim.spec.model import catalog_names

    found = {(g.attention, m.hidden): m.name for m in map(load_model, catalog_names()) for g in m.layers}
    return [(f"{type(kind).__name__}-{name}", kind, hidden) for (kind, hidden), name in found.items()] + [
        ("LightningAttention", LightningAttention(64, 128), 6144), ("Mamba2", Mamba2(128, 64, 1, 128, 4), 4096),
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "hidden"), [k[1:] for k in kinds()], ids=[k[0] for k in kinds()])
def test_shares_of_a_layer_add_up_to_it_and_it_runs_something(kind: Attention, hidden: int) -> None:
    assert kind.params_per_gpu(hidden, 1) == kind.params(hidden)
    assert kind.params(hidden) / 4 <= kind.params_per_gpu(hidden, 4) < kind.params(hidden)
    assert (kind.params_per_gpu(hidden, np.array([1, 4])) == [kind.params_per_gpu(hidden, tp) for tp in (1, 4)]).all()
    assert kind.kv_elements(np.array([1, 5000])).shape == (2,)
    assert kind.illegal_tp(1) is None
    assert kind.width_in_flight(4) > 0
    share = LayerContext(hidden, Parallelism(4), DEFAULT, "bf16", "bf16", (), "bf16", None, 0, False)
    add_attention(kind, share)
    assert share.attention
    assert share.part(None).launches > 4


def test_weights_of_all_gpus_hold_the_model(read) -> None:
    model = read(GRANITE_4)
    assert sum(weight_bytes(model, BF16, Parallelism(1)).values()) == pytest.approx(2 * model.params)


def test_a_configuration_is_asked_for_every_kind() -> None:
    assert get_args(Attention) == ATTENTION_KINDS


# --- what does not type-check -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What mypy says of a module when another is changed: ``check(module, file, old, new)``."""
    from mypy import api

    folder = tmp_path_factory.mktemp("mypy")

    def run(module: str, file: str, old: str, new: str) -> str:
        source, changed = (ROOT / file).read_text(), folder / Path(file).name
        assert len(re.findall(old, source)) == 1
        changed.write_text(re.sub(old, new, source))
        out, err, _ = api.run(
            [
                f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}",
                "--shadow-file", str(ROOT / file), str(changed), str(ROOT / module),
            ]
        )  # fmt: skip
        assert not err
        return out

    return run


def test_a_kind_that_leaves_an_answer_out_does_not_type_check(check) -> None:
    layers = "paretosim/spec/layers/"
    said = check(f"{layers}__init__.py", f"{layers}mamba2.py", "def width_in_flight", "def width_at_rest")
    assert re.search(r"__init__\.py.*Mamba2.*expected.*AttentionKind", said)


def test_a_kind_without_operators_does_not_type_check(check) -> None:
    said = check(
        "paretosim/cost/operators/layer.py", "paretosim/cost/operators/layer.py",
        r"        case Mamba2\(\):\n            _mamba2\(attention, layer\)\n", "",
    )  # fmt: skip
    assert re.search(r'"assert_never" has incompatible type "Mamba2"', said)


def test_every_match_is_complete_or_says_what_is_left() -> None:
    """The last case asserts that nothing is left, or is written out for text that comes from outside."""
    loose = []
    for path in sorted((ROOT / "paretosim").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Match):
                last = node.cases[-1]
                wild = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
                text = all(
                    isinstance(leaf, ast.MatchValue) for case in node.cases[:-1] for leaf in leaves(case.pattern)
                )
                never = "assert_never" in ast.unparse(last.body[-1])
                if not (wild and (never or text)):
                    loose.append(f"{path.name}:{node.lineno}")
    assert not loose


def leaves(pattern: ast.pattern) -> list[ast.pattern]:
    return pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]
