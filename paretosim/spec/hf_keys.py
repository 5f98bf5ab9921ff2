"""Read the keys of a Hugging Face config.json and report those that are wrong or were not understood.

Every key must be read, or be known not to change a shape; any other key that says something is a problem, because it
may be the one that makes this model different.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Problem

INERT = re.compile(
    # identity, storage, settings of generation and training left over in the file
    r"_.*|architectures|auto_map|model_type|(torch_)?dtype|transformers_version|quantization_config|use_cache"
    r"|\w+_token_(ids?|index)|\w*placeholder|ignore_index|id2label|label2id|pretraining_tp|ep_size"
    r"|return_dict|chunk_size_feed_forward|num_beams|num_beam_groups|num_return_sequences|max_length|length_penalty"
    r"|repetition_penalty|temperature|top_[kp]|typical_p|initializer_range|\w*dropout\w*|\w*pdrop|\w*aux_loss\w*"
    r"|seq_aux|use_unified_vision_chunk"
    # positions and activations: no weights, no cache
    r"|rope_(theta|scaling|parameters|interleave|type)|compress_rope_theta|indexer_rope_interleave|rotary_dim"
    r"|partial_rotary_factor|initial_context_length|original_max_position_embeddings|mla_use_nope|swiglu_(limit|alpha)"
    r"|activation_situ_\w+|output_gate_type|attn_temperature_tuning|attn_scale|floor_scale|mamba_ssm_dtype"
    r"|\w+_multiplier|logits_scaling|logit_scale|query_pre_attn_scalar|(attn|final)_logit_softcapping|rotary_pct"
    r"|rope_local_base_freq|position_embedding_type|layernorm_\w+_attention_(alpha|beta)|layernorm_mlp_(alpha|beta)"
    r"|\w+_(alpha|beta)_factor|postnorm|use_parallel_block|order_of_interleaved_layers|layer_switch"
    # norms, biases and routing rules: vectors at most
    r"|\w*norm_eps\w*|normalization_function|(\w+_)?bias|use_gemma_norm|latent_moe_use_norm"
    r"|\w*scoring_func|topk_method|n_group|topk_group|num_expert_group|use_grouped_topk|norm_topk_prob"
    r"|routed_scaling_factor|use_routing_bias|moe_renormalize|moe_router_activation_func|moe_router_dtype|expert_dtype"
    r"|num_hash_layers|shared_moe_mode|(router|input)_jitter_noise"
    # how a program runs it
    r"|use_grouped_mm|for_llm_compressor|use_parallel_embedding|use_embedding_sharing|cache_implementation|init_method"
    r"|output_(router_logits|attentions|hidden_states)"
    # hyper-connections (DeepSeek-V4), attention residuals (Kimi-K3): under 0.1 % of the weights
    r"|hc_(mult|eps|sinkhorn_iters)|attn_res_block_size"
    # layers that draft: which selection they use, where their embedding lies
    r"|index_share_for_mtp_iteration|mtp_use_dedicated_embeddings"
)
"""Keys of a language model that change neither its weights nor its cache."""

FEW = 3
"""A file with more unknown keys than this is reported as another family, not key by key."""

VISION_INERT = re.compile(
    INERT.pattern + r"|in_chan(nel)?s|num_channels|num_position_embeddings|init_pos_emb_\w+|pos_emb_type|merge_type"
    r"|video_attn_type|projector_hidden_act|projector_ln_eps|spatial_patch_size|tokens_per_second"
    r"|mm_hidden_size|multi_modal_projector_bias|vision_feature_\w+"
)
"""Keys of an image encoder that change neither its weights nor its number of tokens."""


class ConfigKeys:
    """One object of a config.json, nested or not: checks values as they are read and collects problems.

    A value that is wrong is replaced by one that lets reading go on; the caller raises all problems at the end.
    """

    def __init__(self, raw: Mapping[str, Any], prefix: str, file: str, problems: list[Problem]):
        self.raw, self.prefix, self.file, self.problems = raw, prefix, file, problems
        self.read: set[str] = set()

    def problem(self, key: str, message: str) -> None:
        """Note that `key` is wrong."""
        self.problems.append(Problem(self.prefix + key, message, self.file))

    def has(self, key: str) -> bool:
        """Is the key there with a value that turns something on?"""
        self.read.add(key)
        return self._says_something(key)

    def number(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there: a whole number >= 1, or 0 where that is the default.

        Keys go from the rarest name of the fact to its usual one, which is the one reported as missing.
        """
        self.read.update(keys)
        key = next((k for k in keys if self.raw.get(k) is not None), keys[-1])
        value = self.raw.get(key)
        value = default if value is None else value
        least = 0 if default == 0 else 1
        if value is None:
            self.problem(key, "missing")
        elif isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.problem(key, f"must be a whole number >= {least}, not {value!r}")
        else:
            return value
        return 1

    def flag(self, key: str, default: bool = False) -> bool:
        """True, false, or `default` where the key is absent or null."""
        self.read.add(key)
        value = self.raw.get(key)
        if not isinstance(value, bool | None):
            self.problem(key, f"must be true or false, not {value!r}")
        return default if value is None else bool(value)

    def items(self, key: str) -> list[Any]:
        """A list, empty where the key is absent or null."""
        self.read.add(key)
        value = self.raw.get(key) or []
        if not isinstance(value, list):
            self.problem(key, f"must be a list, not {value!r}")
            return []
        return value

    def one_of(self, key: str, known: Sequence[str]) -> str:
        """One of `known`, the first of them where the key is absent or null."""
        self.read.add(key)
        value = self.raw.get(key)
        if value is not None and value not in known:
            self.problem(key, f"must be one of {', '.join(known)}, not {value!r}")
        return str(value) if value in known else known[0]

    def per_layer(self, key: str, layers: int, known: Sequence[Any], default: Any, spare: int = 0) -> list[Any]:
        """A value for every layer.

        Parameters
        ----------
        key : whose list is read.
        layers : items that the list must have.
        known : values that are understood.
        default : value of every layer where the key is absent, and where its list is wrong.
        spare : further items that are allowed and dropped, such as those of multi-token-prediction layers.
        """
        items = self.items(key) if self.has(key) else [default] * layers
        if not layers <= len(items) <= layers + spare:
            self.problem(key, f"must have one item for each of the {layers} layers, not {len(items)}")
            return [default] * layers
        if unknown := [item for item in items if item not in known]:
            self.problem(key, f"{unknown[0]!r} is not understood; known: {', '.join(map(str, known))}")
            return [default] * layers
        return items[:layers]

    def child(self, key: str) -> ConfigKeys:
        """The nested object under `key`."""
        self.read.add(key)
        value = self.raw.get(key)
        if not isinstance(value, Mapping):
            self.problem(key, "must be an object")
            value = {}
        return ConfigKeys(value, f"{self.prefix}{key}.", self.file, self.problems)

    def refuse_unread(self, inert: re.Pattern[str]) -> None:
        """Report every key with a value that was neither read nor is `inert`; more than `FEW` of them in one line."""
        unread = sorted(set(self.raw) - self.read)
        unread = [key for key in unread if self._says_something(key) and not inert.fullmatch(key)]
        if len(unread) > FEW:
            some = f"{', '.join(unread[:FEW])} and {len(unread) - FEW} more"
            what = f"{self.raw.get('model_type', 'this family')}: this family is not modelled"
            self.problem("model_type", f"{what} ({some} are not understood and may change the model's shape)")
            return
        for key in unread:
            self.problem(key, "not understood; it may change the model's shape")

    def _says_something(self, key: str) -> bool:
        return self.raw.get(key) not in (None, False, 0, "", [], {})
