"""Which prompts begin alike? Ids for the blocks of every prompt, equal where a prefix cache would find a block again.

A block belongs to its group's common beginning, to its conversation, or, being the incomplete end of one prompt, to
that prompt alone.
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
    group : of each conversation; those of one group begin alike.
    common_tokens : of each conversation, how many tokens its prompts share with its group.
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
