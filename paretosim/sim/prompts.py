"""Block ids of every prompt, equal where a prefix cache would hit.

A block belongs to the common prefix of its group, to its conversation, or, if it is the incomplete last block of a
prompt, to that prompt alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Ints


class Hashed(NamedTuple):
    """Columns of `Requests`."""

    hash_starts: Ints
    hash_ids: Ints


def hashed(isl: Ints, conversation: Ints, group: Ints, common_tokens: Ints, block_tokens: int) -> Hashed:
    """Block ids of prompts.

    Parameters
    ----------
    isl : prompt of each request [token]; within a conversation, each one begins with all tokens of the one before.
    conversation : of each request, numbered from 0.
    group : of each conversation; prompts of one group share a prefix.
    common_tokens : of each conversation, the tokens of that prefix [token].
    block_tokens : tokens of a block.
    """
    full, blocks = isl // block_tokens, -(-isl // block_tokens)
    longest = np.zeros(len(group), np.int64)
    np.maximum.at(longest, conversation, full)
    common = common_tokens // block_tokens
    group_blocks = int(common.max(initial=0))
    groups_end = (int(group.max(initial=-1)) + 1) * group_blocks
    conversations = groups_end + np.cumsum(longest) - longest
    conversations_end = groups_end + int(longest.sum())

    starts = np.concatenate(([0], np.cumsum(blocks)))
    at = np.arange(starts[-1]) - np.repeat(starts[:-1], blocks)
    in_group = at < np.repeat(common[conversation], blocks)
    first_of_group = np.repeat((group * group_blocks)[conversation], blocks)
    first_of_conversation = np.repeat(conversations[conversation], blocks)
    ids = at + np.where(in_group, first_of_group, first_of_conversation)
    ragged = np.flatnonzero(blocks > full)
    ids[starts[ragged + 1] - 1] = conversations_end + ragged
    return Hashed(starts, ids)
