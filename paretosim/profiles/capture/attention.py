"""Prefill and decode attention by torch's scaled_dot_product_attention (SDPA), grouped-query heads included."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from .bench import DTYPE_BYTES, Bench, Case, Measured
from .capture_shapes import Grid
from .timing import Call

_DTYPE = "bf16"


@dataclass(frozen=True, slots=True)
class Backend:
    """One of SDPA's kernels.

    Attributes
    ----------
    name : part of the lane's kernel name.
    torch_name : member of ``torch.nn.attention.SDPBackend``.
    grouped : whether it takes fewer KV heads than query heads as they are; if not, they are copied
        out to one per query head before the clock starts.
    """

    name: str
    torch_name: str
    grouped: bool


# Which of them takes grouped heads: pytorch/pytorch#139586 and #181528.
_BACKENDS = {
    "cuda": (
        Backend("flash", "FLASH_ATTENTION", grouped=True),
        Backend("cudnn", "CUDNN_ATTENTION", grouped=True),
        Backend("efficient", "EFFICIENT_ATTENTION", grouped=False),
    ),
    "cpu": (Backend("flash", "FLASH_ATTENTION", grouped=True),),
}
Heads = tuple[int, int, int]
MakeCase = Callable[[Bench, Backend, Heads, int, int], Case]


def _keys(backend: Backend, heads: Heads, expanded: bool) -> dict[str, str | int]:
    return {
        "kernel": f"sdpa_{backend.name}{'_expanded' if expanded else ''}",
        "compute_dtype": _DTYPE,
        "kv_dtype": _DTYPE,
        "heads": heads[0],
        "kv_heads": heads[1],
        "head_dim": heads[2],
        "window": 0,
    }


def sdpa(backend: Backend, q: Any, k: Any, v: Any, causal: bool) -> Any:
    """Scaled dot-product attention by one kernel and no other.

    Parameters
    ----------
    backend : the kernel.
    q : queries, shape (batch, heads, query tokens, head_dim).
    k, v : keys and values, shape (batch, kv_heads, context, head_dim).
    causal : whether a token attends to earlier tokens only.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    with sdpa_kernel(getattr(SDPBackend, backend.torch_name)):
        return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def prefill_case(bench: Bench, backend: Backend, heads: Heads, batch: int, isl: int) -> Case:
    """Causal attention of ``batch`` prompts of ``isl`` tokens each, without a cached prefix.

    Parameters
    ----------
    bench : makes operands and times calls on the device.
    backend : the kernel.
    heads : query heads, KV heads and head dimension.
    batch : prompts.
    isl : length of each prompt [token].
    """
    queries, kv_heads, head_dim = heads
    expanded = queries != kv_heads and not backend.grouped
    stored = queries if expanded else kv_heads

    def make() -> list[Call]:
        q = bench.randn(batch, queries, isl, head_dim, dtype=_DTYPE)
        k, v = (bench.randn(batch, stored, isl, head_dim, dtype=_DTYPE) for _ in range(2))
        return [partial(sdpa, backend, q, k, v, causal=True)]

    operand_bytes = 2 * (queries + stored) * batch * isl * head_dim * DTYPE_BYTES[_DTYPE]
    return Case({**_keys(backend, heads, expanded), "batch": batch, "isl": isl}, operand_bytes, make)


def decode_operands(q: Any, kv_heads: int) -> Any:
    """Fold the query heads of a group into the query length: (batch, heads, 1, d) to (batch, kv_heads, group, d).

    With one new token there is no mask between queries, so the result is the same to the last term of
    the sum, every kernel takes it, and each cached head is read once for its whole group, as
    FlashAttention's decode path does (``seqlenq_ngroups_swapped`` in its mha_fwd).
    """
    batch, heads, _, head_dim = q.shape
    return q.reshape(batch, kv_heads, heads // kv_heads, head_dim)


def decode_case(bench: Bench, backend: Backend, heads: Heads, batch: int, context: int) -> Case:
    """Attention of one new token of each sequence over its KV cache, which is read cold.

    Parameters
    ----------
    bench : makes operands and times calls on the device.
    backend : the kernel.
    heads : query heads, KV heads and head dimension.
    batch : sequences.
    context : cached tokens of each sequence [token].
    """
    queries, kv_heads, head_dim = heads
    cache_bytes = 2 * kv_heads * batch * context * head_dim * DTYPE_BYTES[_DTYPE]
    copies = bench.cold_copies(cache_bytes)

    def make() -> list[Call]:
        q = decode_operands(bench.randn(batch, queries, 1, head_dim, dtype=_DTYPE), kv_heads)
        caches = [
            [bench.randn(batch, kv_heads, context, head_dim, dtype=_DTYPE) for _ in range(2)] for _ in range(copies)
        ]
        return [partial(sdpa, backend, q, k, v, causal=False) for k, v in caches]

    operand_bytes = copies * cache_bytes + 2 * queries * batch * head_dim * DTYPE_BYTES[_DTYPE]
    return Case({**_keys(backend, heads, expanded=False), "batch": batch, "context": context}, operand_bytes, make)


def fastest(bench: Bench, make_case: MakeCase, heads: Heads, probe: tuple[int, int]) -> Backend | str:
    """The kernel with the shortest time for a probe shape, or the reason why no kernel ran it.

    Parameters
    ----------
    bench : makes operands and times calls on the device.
    make_case : `prefill_case` or `decode_case`.
    heads : query heads, KV heads and head dimension.
    probe : batch and length of the probe.
    """
    seconds: dict[Backend, float] = {}
    reason = ""
    for backend in _BACKENDS[bench.device]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel that does not take a shape says so at length
            timing = bench.time(make_case(bench, backend, heads, *probe))
        if isinstance(timing, str):
            reason = timing
        else:
            seconds[backend] = timing.latency_s
    return min(seconds, key=seconds.__getitem__) if seconds else reason


def _measure(
    bench: Bench, grid: Grid, op: str, make_case: MakeCase, shapes: tuple[tuple[int, int], ...], probe: tuple[int, int]
) -> Measured:
    without: Counter[str] = Counter()

    def cases() -> Iterator[Case]:
        for heads in grid.heads:
            backend = fastest(bench, make_case, heads, probe)
            if isinstance(backend, str):
                without[backend] += len(shapes)
                continue
            yield from (make_case(bench, backend, heads, *shape) for shape in shapes)

    how = f"{bench.usual_run}, each head layout by the SDPA kernel fastest at batch {probe[0]} x {probe[1]} tokens"
    if op == "attention_decode":
        how += f", KV cache {bench.cold}"
    done = bench.measure(op, cases(), how)
    return Measured(done.rows, done.how, done.eager, Counter(done.left_out) + without)


def measure_prefill(bench: Bench, grid: Grid) -> Measured:
    """Table ``attention_prefill``."""
    return _measure(bench, grid, "attention_prefill", prefill_case, grid.prefill, grid.prefill_probe)


def measure_decode(bench: Bench, grid: Grid) -> Measured:
    """Table ``attention_decode``."""
    return _measure(bench, grid, "attention_decode", decode_case, grid.decode, grid.decode_probe)
