"""Which shapes are measured: the full grid for a GPU, a small one to try a machine in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from ...units import GIB, KIB, MIB

# (hidden, heads, kv_heads, head_dim, inter, vocab) from each model's Hugging Face config.json.
_MODELS = {
    "meta-llama/Llama-3.2-1B": (2048, 32, 8, 64, 8192, 128256),
    "meta-llama/Llama-3.1-8B": (4096, 32, 8, 128, 14336, 128256),
    "meta-llama/Llama-3.1-70B": (8192, 64, 8, 128, 28672, 128256),
    "meta-llama/Llama-3.1-405B": (16384, 128, 8, 128, 53248, 128256),
    "meta-llama/Llama-2-7b-hf": (4096, 32, 32, 128, 11008, 32000),
    "Qwen/Qwen2.5-7B": (3584, 28, 4, 128, 18944, 152064),
    "Qwen/Qwen3-8B": (4096, 32, 8, 128, 12288, 151936),
    "Qwen/Qwen3-32B": (5120, 64, 8, 128, 25600, 151936),
}
_WIDTHS = (1, 2, 4, 8)  # tensor-parallel widths whose per-GPU shapes are measured
# Sites of no model in particular, so that a shape between the models' own is still inside the grid.
_LATTICE = (256, 1024, 4096, 16384)


@dataclass(frozen=True, slots=True)
class Grid:
    """Shapes to measure.

    Attributes
    ----------
    gemm_m : rows of the activation [token].
    gemm_sites : (n, k) of the weight.
    heads : (heads, kv_heads, head_dim) per GPU.
    prefill, decode : (batch, isl); (batch, context).
    prefill_probe, decode_probe : the shape at which attention kernels are compared to choose one.
    elementwise_bytes : size of one stream; copy_bytes, collective_bytes : size of one message.
    launches : kernels in a row.
    peak_gemm, peak_copy_bytes : (m, n, k) and message at which ``gpu.yaml``'s peaks are probed.
    """

    gemm_m: tuple[int, ...]
    gemm_sites: tuple[tuple[int, int], ...]
    heads: tuple[tuple[int, int, int], ...]
    prefill: tuple[tuple[int, int], ...]
    decode: tuple[tuple[int, int], ...]
    prefill_probe: tuple[int, int]
    decode_probe: tuple[int, int]
    elementwise_bytes: tuple[int, ...]
    copy_bytes: tuple[int, ...]
    collective_bytes: tuple[int, ...]
    launches: tuple[int, ...]
    peak_gemm: tuple[int, int, int]
    peak_copy_bytes: int


def powers_of_two(low: int, high: int) -> tuple[int, ...]:
    """Powers of two from ``low`` to ``high``, both included."""
    return tuple(1 << i for i in range(low.bit_length() - 1, high.bit_length()))


def geometric(high: int) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8, 12, ... ``high``: powers of two and the points half-way between."""
    powers = powers_of_two(1, high)
    return tuple(sorted({*powers, *(3 * p // 2 for p in powers[1:-1])}))


def model_sites() -> tuple[tuple[int, int], ...]:
    """Per-GPU (n, k) of the models' dense layers: QKV, output, gate+up, down, vocabulary head.

    QKV, gate+up and the head are split by columns, output and down by rows (Megatron-LM,
    arXiv:1909.08053); KV heads are copied once there are fewer of them than GPUs;
    a width that does not divide the heads is left out.
    """
    sites = {(n, k) for n in _LATTICE for k in _LATTICE}
    for hidden, heads, kv_heads, head_dim, inter, vocab in _MODELS.values():
        for tp in (w for w in _WIDTHS if heads % w == 0):
            qkv = (heads // tp + 2 * max(kv_heads // tp, 1)) * head_dim
            sites |= {(qkv, hidden), (hidden, heads // tp * head_dim), (vocab // tp, hidden)}
            sites |= {(2 * inter // tp, hidden), (hidden, inter // tp)}
    return tuple(sorted(sites))


def model_heads() -> tuple[tuple[int, int, int], ...]:
    """Per-GPU (heads, kv_heads, head_dim) of the models at the same widths."""
    return tuple(
        sorted(
            {
                (heads // tp, max(kv_heads // tp, 1), head_dim)
                for _, heads, kv_heads, head_dim, _, _ in _MODELS.values()
                for tp in _WIDTHS
                if heads % tp == 0
            }
        )
    )


def full_grid() -> Grid:
    """Everything, for a GPU; shapes that do not fit its memory are left out when they come up."""
    batches = powers_of_two(1, 512)
    lengths = (16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
    contexts = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
    return Grid(
        gemm_m=geometric(16384),
        gemm_sites=model_sites(),
        heads=model_heads(),
        # No engine prefills more tokens than this in one step, and time grows with the square of isl.
        prefill=tuple((b, s) for b in batches for s in lengths if b * s <= 131072),
        decode=tuple((b, c) for b in batches for c in contexts),
        prefill_probe=(1, 2048),
        decode_probe=(8, 4096),
        elementwise_bytes=powers_of_two(16 * KIB, 512 * MIB),
        copy_bytes=powers_of_two(KIB, GIB),
        collective_bytes=powers_of_two(512, 512 * MIB),
        launches=powers_of_two(1, 1024),
        peak_gemm=(8192, 8192, 8192),
        peak_copy_bytes=GIB,
    )


def small_grid(device: str) -> Grid:
    """A few shapes of every operator, for a CPU or to try a GPU in a minute."""
    cpu = device == "cpu"
    return Grid(
        gemm_m=(1, 16, 64, 256),
        gemm_sites=((512, 512), (1024, 512), (1024, 1024), (2048, 1024)),
        heads=((8, 2, 64), (8, 8, 64)),
        prefill=tuple((b, s) for b in (1, 4) for s in (16, 64, 256)),
        decode=tuple((b, c) for b in (1, 4, 16) for c in (64, 256, 1024)),
        prefill_probe=(1, 256),
        decode_probe=(4, 256),
        elementwise_bytes=(16 * KIB, 256 * KIB, 4 * MIB),
        copy_bytes=(16 * KIB, 256 * KIB, 4 * MIB),
        collective_bytes=(16 * KIB, 256 * KIB, MIB),
        launches=(1, 16, 256),
        # Large enough to reach the machine's rate: 2 GFLOP and 64 MiB on a CPU, the full grid's on a GPU.
        peak_gemm=(512, 2048, 1024) if cpu else (8192, 8192, 8192),
        peak_copy_bytes=64 * MIB if cpu else GIB,
    )
