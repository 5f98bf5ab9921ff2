"""An index is a design: the way there and back is the identity, and every index is used once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretosim.designs.space import DesignSpace
from paretosim.spec.scenario import Hardware, Space

axis = st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True).map(lambda v: tuple(sorted(v)))
short = st.sampled_from([(1,), (2,), (1, 4)])
gpus = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True).map(tuple)
modes = st.sampled_from([("colocated",), ("disaggregated",), ("colocated", "disaggregated"),
                         ("disaggregated", "colocated")])  # fmt: skip
ratios = st.sampled_from([None, "matched", (0.5, 3.5)])


@st.composite
def spaces(draw: st.DrawFn) -> DesignSpace:
    ratio = draw(ratios)
    workers = ((), ()) if ratio else (draw(axis), draw(axis))
    serving = draw(modes)
    space = Space(serving, draw(axis), draw(axis), draw(axis), *workers, ratio, None, *(draw(short) for _ in range(4)))
    names = draw(gpus)
    return DesignSpace.of(space, Hardware(names, names[:1]))


@given(spaces())
def test_every_index_is_one_design_and_back(space: DesignSpace) -> None:
    index = np.arange(len(space))
    mode = space.mode(index)
    for serving in space.serving:
        mine = index[mode == serving]
        np.testing.assert_array_equal(space.index(serving, *space.axis_indices(serving, mine)), mine)
    assert sum((mode == s).sum() for s in space.serving) == len(space)


@given(spaces())
def test_points_of_a_pool_are_the_product_of_its_axes(space: DesignSpace) -> None:
    pool = space.prefill
    columns = pool.columns(np.arange(len(pool)))
    axes = ("gpu", "tp", "pp", "cp", "attn_dp", "moe_ep", "cpp_chunk", "batch")
    rows = list(zip(*(columns[c] for c in axes), strict=True))
    sizes = [len(getattr(pool, "gpus" if c == "gpu" else c)) for c in axes]
    assert len(rows) == np.prod(sizes)
    reached = []
    for gpu, layout, here in pool.engines():
        chunks = pool.cpp_chunk if layout.pp > 1 else [0] * len(pool.cpp_chunk)  # without stages a chunk is nothing
        assert [*columns["batch"][here]] == [*pool.batch] * len(chunks)
        assert [*columns["cpp_chunk"][here]] == [chunk for chunk in chunks for _ in pool.batch]
        reached += rows[here]
        for name in ("tp", "pp", "cp", "attn_dp", "moe_ep"):
            assert {*columns[name][here]} == {getattr(layout, name)}
        assert {*columns["gpu"][here]} == {gpu}
    assert reached == rows


def test_an_index_outside_the_space_is_an_error() -> None:
    space = DesignSpace.of(Space(("colocated",), (1,), (1,), (1,), (1,), (1,)), Hardware(("a",), ("a",)))
    with pytest.raises(IndexError, match=r"outside 0\.\.0"):
        space.mode([1])
