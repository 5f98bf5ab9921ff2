"""How an engine mixes the phases is a type inside, two whole numbers in arrays and a text in tables."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.errors import InputError
from paretosim.spec.scheduling import (
    CHUNKED,
    IN_FLIGHT,
    ONE_PHASE,
    PER_MIX,
    Chunked,
    InFlight,
    PerMix,
    mixing_of,
    read_mixing,
    texts_of,
)  # fmt: skip


@pytest.mark.parametrize("mixing", [InFlight(1), InFlight(32), Chunked(128), Chunked(16384), PerMix()])
def test_a_text_says_the_setting_that_it_was_written_from(mixing: InFlight | Chunked | PerMix) -> None:
    assert read_mixing(str(mixing)) == mixing


def test_numbers_become_settings_and_texts() -> None:
    kind, size = np.array([CHUNKED, IN_FLIGHT, ONE_PHASE, PER_MIX, CHUNKED]), np.array([512, 4, 0, 0, 512])
    assert [mixing_of(*one) for one in zip(kind.tolist(), size.tolist(), strict=True)] == [
        Chunked(512), InFlight(4), None, PerMix(), Chunked(512),
    ]  # fmt: skip
    assert texts_of(kind, size).tolist() == ["chunked 512", "in-flight 4", "", "each mix's own", "chunked 512"]


@pytest.mark.parametrize("text", ["", "chunked", "chunked -1", "chunked 2048 ", "in-flight 04", "Chunked 512"])
def test_another_text_is_refused_with_one_that_is_not(text: str) -> None:
    with pytest.raises(InputError, match="is no setting; write 'in-flight 4' or 'chunked 2048'"):
        read_mixing(text)
