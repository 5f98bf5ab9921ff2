"""The lightning indexer: which tokens or entries are worth attending to?"""

from __future__ import annotations

from dataclasses import dataclass

from ..hf_keys import ConfigKeys


@dataclass(frozen=True, slots=True)
class Indexer:
    """Lightning indexer: a cheap attention that selects the `topk` tokens worth reading (DeepSeek-V3.2 report, 2.1).

    A layer that reuses the selection of an earlier layer has ``heads = head_dim = 0``.
    """

    heads: int
    head_dim: int
    topk: int

    def query_params(self, hidden: int, q_lora: int) -> int:
        """Weights of the query projection and of the per-head score weights."""
        return q_lora * self.heads * self.head_dim + hidden * self.heads

    @classmethod
    def of_config(cls, keys: ConfigKeys) -> Indexer:
        """One that selects for itself."""
        return cls(keys.number("index_n_heads"), keys.number("index_head_dim"), keys.number("index_topk"))
