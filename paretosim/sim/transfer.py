"""Transfer of the KV cache of a prompt from its prefill engine to its decode engine.

A *mode* is told of every prefill step of a prompt as it begins, since its end is known then, and decides which bytes
leave when. All modes share the rest: the bytes of one prompt go one after another over a shared network and are decoded
on arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from ..spec.transfer import CodecSpec, TransferSpec
from .clock import KV_TRANSFER, Clock
from .fabric import Done, Fabric
from .policies import named


@dataclass(frozen=True, slots=True)
class PrefillStep:
    """One step of a prompt: all of it, or a chunk.

    Attributes
    ----------
    begin_s, end_s : when the engine runs it [s].
    bytes : cache that can leave once it has run [byte].
    bytes_before : of the steps before [byte].
    layers : layers that it runs one after another.
    last : no step of the prompt follows.
    """

    begin_s: float
    end_s: float
    bytes: float
    bytes_before: float
    layers: int
    last: bool


class Codec(Protocol):
    """What happens to bytes that are sent."""

    def encoded_bytes(self, bytes_: float) -> float:
        """Bytes on the network for `bytes_` of cache."""

    def decode_s(self, bytes_: float) -> float:
        """Seconds from the arrival of `bytes_` of cache until they can be used."""


class RatioCodec:
    """Every byte shrinks and expands alike."""

    def __init__(self, spec: CodecSpec):
        self._spec = spec

    def encoded_bytes(self, bytes_: float) -> float:
        """Bytes over the ratio."""
        return bytes_ / self._spec.ratio

    def decode_s(self, bytes_: float) -> float:
        """Bytes over the decoder's output rate."""
        return bytes_ / self._spec.decode_bytes_per_s


class TransferMode(Protocol):
    """Decides when the bytes of a prompt leave. One instance serves all prompts, so it has no state per prompt."""

    def step(self, step: PrefillStep, kv_transfer: KvTransfer) -> None:
        """Told as `step` begins: call ``kv_transfer.send`` for what leaves during or after it, first bytes first."""


class NoTransfer:
    """Nothing is sent: both engines share memory, or the cost is left out on purpose."""

    def step(self, step: PrefillStep, kv_transfer: KvTransfer) -> None:
        """Decoding may begin when the prefill ends."""


class BulkTransfer:
    """Everything after the prefill."""

    def step(self, step: PrefillStep, kv_transfer: KvTransfer) -> None:
        """Wait for the last step."""
        if step.last:
            kv_transfer.send(step.bytes_before + step.bytes, step.end_s)


class ChunkTransfer:
    """The cache of each prefill step after it; the next one hides it."""

    def step(self, step: PrefillStep, kv_transfer: KvTransfer) -> None:
        """One piece per step."""
        kv_transfer.send(step.bytes, step.end_s)


class LayerwiseTransfer:
    """Each layer's cache as soon as the step has run the layer (fabric-lib, arXiv 2510.27656; Splitwise, 2311.18677).

    Layer ``l`` of ``L`` is ready at ``begin + (end - begin) * l / L``. All but the last one form one flow at the pace
    at which they are made, the last one follows. Alone, that ends with the same instant as one flow per layer,
    ``max(begin + (end - begin) / L + bytes / bandwidth, end + bytes / L / bandwidth)``; where flows share a card it
    spreads evenly what really comes in bursts of a layer.
    """

    def step(self, step: PrefillStep, kv_transfer: KvTransfer) -> None:
        """Two pieces per step."""
        layer = step.bytes / step.layers
        if step.layers > 1:
            first_s = step.begin_s + (step.end_s - step.begin_s) / step.layers
            kv_transfer.send(step.bytes - layer, first_s, step.end_s)
        kv_transfer.send(layer, step.end_s)


MODES: dict[str, Callable[[], TransferMode]] = {
    "none": NoTransfer,
    "bulk": BulkTransfer,
    "chunk": ChunkTransfer,
    "layerwise": LayerwiseTransfer,
}


@dataclass(frozen=True, slots=True)
class Transfers:
    """Settings that all KV transfers between two kinds of engine share.

    Attributes
    ----------
    kv_bytes : given the tokens of a prompt, KV bytes to send, copies included [byte].
    layers : layers that an engine runs one after another, over all stages.
    page_bytes : bytes of one write, 0 for large ones.
    most_bytes_per_s : of the GPUs that hold one prompt, where an engine has more
        (`paretosim.cost.memory.kv_fanout`) [byte/s].
    set_up_s : delay of each transfer, whatever its size [s].
    """

    clock: Clock
    fabric: Fabric
    mode: TransferMode
    kv_bytes: Callable[[int], float]
    layers: int
    page_bytes: float = 0.0
    codec: Codec | None = None
    most_bytes_per_s: float = inf
    set_up_s: float = 0.0

    @classmethod
    def of(
        cls, clock: Clock, fabric: Fabric, spec: TransferSpec, kv_bytes: Callable[[int], float], layers: int,
        most_bytes_per_s: float = inf, allow_plugins: bool = False,
    ) -> Transfers:  # fmt: skip
        """Transfers as a scenario describes them.

        Parameters
        ----------
        clock, fabric : time; the network.
        spec : the scenario's ``kv_transfer``.
        kv_bytes, layers : of the model, where `spec` does not say them.
        most_bytes_per_s : bandwidth of the GPUs that hold one prompt [byte/s].
        allow_plugins : whether the mode may be a user's ``module:Class``.
        """
        per_token = spec.bytes_per_token
        return cls(
            clock=clock,
            fabric=fabric,
            mode=named("transfer mode", spec.mode, MODES, allow_plugins)(),
            kv_bytes=(lambda tokens: tokens * per_token) if per_token else kv_bytes,
            layers=spec.layers or layers,
            page_bytes=spec.page_bytes,
            codec=RatioCodec(spec.codec) if spec.codec else None,
            most_bytes_per_s=most_bytes_per_s,
            set_up_s=spec.set_up_s or 0.0,
        )

    def open(self, src: int, dst: int, done: Done) -> KvTransfer:
        """Open the transfer of one prompt from endpoint `src` to `dst`; `done(time)` is called when it may decode."""
        return KvTransfer(self, src, dst, self._set_up(done) if self.set_up_s else done)

    def _set_up(self, done: Done) -> Done:
        clock, set_up_s = self.clock, self.set_up_s
        return lambda time_s: clock.at(time_s + set_up_s, lambda _: done(clock.now), None, KV_TRANSFER)


class KvTransfer:
    """The KV transfer of one prompt: pieces that leave one after another, each as soon as it is ready.

    Attributes
    ----------
    tokens : prompt tokens announced so far.
    bytes : on the network for them [byte].
    prefill_end_s : end of the last step [s]; what `done` adds to it is exposed.
    """

    __slots__ = (
        "_common", "_decoded_s", "_done", "_dst", "_final", "_piece", "_pieces", "_src", "_woken", "bytes",
        "prefill_end_s", "tokens",
    )  # fmt: skip

    def __init__(self, common: Transfers, src: int, dst: int, done: Done):
        self._common, self._src, self._dst, self._done = common, src, dst, done
        self._pieces: deque[tuple[float, float, float]] = deque()  # cache bytes, ready from, made until
        self._piece: float | None = None  # cache bytes of the one on its way
        self._final = self._woken = False
        self._decoded_s = 0.0
        self.bytes = self.prefill_end_s = 0.0
        self.tokens = 0

    def step(self, begin_s: float, end_s: float, tokens: int, last: bool) -> None:
        """A prefill step of the prompt begins; call it at `begin_s`.

        Parameters
        ----------
        begin_s, end_s : when it runs [s].
        tokens : whose cache can leave thanks to it: those it computes and, in a prompt's first step, those that were
            found in a cache.
        last : whether the prompt is complete then.
        """
        common = self._common
        before = common.kv_bytes(self.tokens) if self.tokens else 0.0
        self.tokens += tokens
        self.prefill_end_s = end_s
        step = PrefillStep(
            begin_s, end_s, common.kv_bytes(self.tokens) - before, before, common.layers, last
        )  # fmt: skip
        common.mode.step(step, self)
        self._final = last
        if self._pieces:
            self._next()
        elif last and self._piece is None:
            common.clock.at(max(end_s, self._decoded_s), self._ready, None, KV_TRANSFER)

    def send(self, bytes_: float, ready_s: float, until_s: float = 0.0) -> None:
        """For modes: this much cache leaves at `ready_s`, or as it is made between then and `until_s`."""
        self._pieces.append((bytes_, ready_s, until_s))

    def _next(self, woken: bool = False) -> None:
        """Start the next piece, now or when it is ready; one at a time."""
        if woken:
            self._woken = False
        if self._piece is not None or self._woken:
            return
        common = self._common
        cache, ready_s, until_s = self._pieces[0]
        if ready_s > common.clock.now:
            self._woken = True
            common.clock.at(ready_s, self._next, True, KV_TRANSFER)
            return
        self._pieces.popleft()
        self._piece = cache
        sent = common.codec.encoded_bytes(cache) if common.codec else cache
        self.bytes += sent
        whole = self._final and not self._pieces
        common.fabric.send(
            self._src, self._dst, sent, common.page_bytes, self._arrived if whole else self._left, until_s,
            None if whole else 0.0, common.most_bytes_per_s,
        )  # fmt: skip

    def _left(self, time_s: float) -> None:
        """A piece has left; its latency passes while the next one is under way."""
        self._decode(time_s + self._latency_s())
        if self._pieces:
            self._next()
        elif self._final:  # the last step added nothing to send
            ready_s = max(self._decoded_s, self.prefill_end_s)
            self._common.clock.at(ready_s, self._ready, None, KV_TRANSFER)

    def _arrived(self, time_s: float) -> None:
        self._decode(time_s)
        if self._decoded_s > time_s:
            self._common.clock.at(self._decoded_s, self._ready, None, KV_TRANSFER)
        else:
            self._done(time_s)

    def _decode(self, arrived_s: float) -> None:
        cache, self._piece = self._piece or 0.0, None
        seconds = self._common.codec.decode_s(cache) if self._common.codec else 0.0
        self._decoded_s = max(self._decoded_s, arrived_s) + seconds

    def _ready(self, _: object) -> None:
        self._done(self._common.clock.now)

    def _latency_s(self) -> float:
        return self._common.fabric.latency_s(self._src, self._dst)
