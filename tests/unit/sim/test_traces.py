"""Recorded arrivals: what is read from the published traces, and what a wrong line is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from paretosim.errors import InputError
from paretosim.sim.arrivals import requests_of
from paretosim.sim.traces import read_trace
from tests.conftest import SHARED
from tests.workloads import workload

TRACES = SHARED / "data" / "traces"
shared = pytest.mark.skipif(not TRACES.exists(), reason="the published traces are not beside this repository")


def replay(folder: Path, name: str, layout: str, **keys):
    arrivals = {"kind": "trace", "path": name, "format": layout} | keys
    return requests_of(workload(folder, arrivals=arrivals), 0, folder)


@shared
@pytest.mark.parametrize(
    ("name", "layout", "count", "isl", "osl"),
    [  # sizes and mean lengths of the publishers: Azure's repository, Mooncake (FAST 2025) table 2
        ("azure_llm_2023_code.csv.gz", "azure", 8819, 2047.8, 27.9),
        ("azure_llm_2023_conv.csv.gz", "azure", 19366, 1154.7, 211.1),
        ("mooncake_conversation.jsonl.gz", "mooncake", 12031, 12035, 343),
        ("mooncake_synthetic.jsonl.gz", "mooncake", 3993, 15325, 149),
    ],
)
def test_published_traces_have_their_published_sizes(name: str, layout: str, count: int, isl: float, osl: float):
    requests = replay(TRACES, name, layout)
    assert len(requests) == count
    assert abs(requests.isl.mean() - isl) < 0.6
    assert abs(requests.osl.mean() - osl) < 0.5
    assert (np.diff(requests.arrival_s) >= 0).all()


@shared
@pytest.mark.parametrize(("name", "hits"), [("conversation", 0.366), ("synthetic", 0.640)])
def test_an_endless_cache_would_hit_the_published_share_of_mooncake_s_blocks(name: str, hits: float) -> None:
    requests = replay(TRACES, f"mooncake_{name}.jsonl.gz", "mooncake")
    assert requests.block_tokens == 512
    assert np.array_equal(np.diff(requests.hash_starts), -(-requests.isl // 512))
    assert 1 - len(np.unique(requests.hash_ids)) / len(requests.hash_ids) == pytest.approx(hits, abs=5e-4)


@shared
def test_jitter_spreads_the_quantised_times_of_mooncake_forward() -> None:
    name = "mooncake_conversation.jsonl.gz"
    plain, spread = replay(TRACES, name, "mooncake"), replay(TRACES, name, "mooncake", jitter_s=3.0)
    assert len(np.unique(plain.arrival_s)) < 1300
    assert len(np.unique(spread.arrival_s)) == 12031
    assert spread.arrival_s.mean() - plain.arrival_s.mean() == pytest.approx(1.5, abs=0.05)
    assert sorted(spread.isl) == sorted(plain.isl)
    request = int(np.flatnonzero(spread.isl == plain.isl.max())[0])  # its blocks moved along with it
    mine = spread.hash_ids[spread.hash_starts[request] : spread.hash_starts[request + 1]]
    before = int(plain.isl.argmax())
    assert mine.tolist() == plain.hash_ids[plain.hash_starts[before] : plain.hash_starts[before + 1]].tolist()


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,100,10\n2,200,20\n"),
        ("csv", "id,osl,arrival_s,isl\na,10,0.5,100\nb,20,2,200\n"),
        ("azure", "arrival_s,isl,osl\n0.5,100,10\n2.0,200,20\n"),
        (
            "mooncake",
            '{"timestamp": 500, "input_length": 100, "output_length": 10, "hash_ids": [7]}\n'
            '{"timestamp": 2000, "input_length": 200, "output_length": 20, "hash_ids": [7]}\n',
        ),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_layout_reads_the_same_requests(tmp_path: Path, layout: str, text: str, zipped: bool) -> None:
    path = tmp_path / ("t.gz" if zipped else "t")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    trace = read_trace(path, layout)  # type: ignore[arg-type]
    assert trace.time_s.tolist() == [0.5, 2.0]
    assert trace.isl.tolist() == [100, 200]
    assert trace.osl.tolist() == [10, 20]


@pytest.mark.parametrize(
    "dates",
    [
        ("2023-11-16 18:17:03.9799600", "2023-11-16 18:17:04.0319600"),
        ("2024-05-10 23:59:59.990+00:00", "2024-05-11 00:00:00.042+00:00"),
    ],
)
def test_azure_s_dates_count_from_the_first_request(tmp_path: Path, dates: tuple[str, str]) -> None:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", f"{dates[0]},4808,10", f"{dates[1]},3180,8"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert read_trace(tmp_path / "t.csv", "azure").time_s.tolist() == pytest.approx([0, 0.052])


@pytest.fixture
def four(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("arrival_s,isl,osl\n1,10,1\n3,20,2\n5,30,3\n9,40,4\n")
    return tmp_path


def test_a_window_starts_at_zero_and_leaves_out_its_end(four: Path) -> None:
    requests = replay(four, "t.csv", "csv", from_s=3, to_s=9)
    assert requests.arrival_s.tolist() == [0, 2]
    assert requests.isl.tolist() == [20, 30]
    assert replay(four, "t.csv", "csv", limit=3).osl.tolist() == [1, 2, 3]


def test_a_scaled_rate_replays_the_window_faster(four: Path) -> None:
    assert replay(four, "t.csv", "csv", rate_scale=2, from_s=1).arrival_s.tolist() == [0, 1, 2, 4]


def test_a_window_without_requests_is_an_error(four: Path) -> None:
    with pytest.raises(InputError, match=r"workload\.arrivals: no request of the trace is between from_s and to_s"):
        replay(four, "t.csv", "csv", from_s=6, to_s=8)


GOOD = {"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [0, 1]}


@pytest.mark.parametrize(
    ("layout", "text", "problem"),
    [
        ("csv", "isl,osl\n1,2\n", ":1: arrival_s or arrived_at: the header needs one such column; it has isl, osl"),
        ("csv", "", ":1: arrival_s or arrived_at: the header needs one such column; it has none"),
        ("csv", "arrival_s,isl,osl\n", ": holds no request"),
        ("csv", "arrival_s,isl,osl\n0,5,2\n0,5,0\n", ":3: osl: must be a whole number from 1 on, not 0: drop the "),
        ("csv", "arrival_s,isl,osl\n0,0,2\n", ":2: isl: must be a whole number from 1 on, not 0: drop the line,"),
        ("csv", "arrival_s,isl,osl\n0,1.5,2\n", ":2: isl: must be a whole number from 1 on, not 1.5"),
        ("csv", "arrival_s,isl,osl\n0,5\n", ":2: osl: must be a number, not None"),
        ("csv", "arrival_s,isl,osl\n-1,5,2\n", ":2: arrival_s: must be at least 0, not -1 s"),
        ("csv", "arrival_s,isl,osl\nnan,5,2\n", ":2: arrival_s: must be a number, not 'nan'"),
        ("csv", "arrival_s,isl,osl\n3,5,2\n2.5,5,2\n", ":3: arrives 0.5 s before the line above: sort the trace"),
        ("azure", "TIMESTAMP,isl,osl\nnoon,5,2\n", ":2: TIMESTAMP: must be a time such as 2023-11-16 18:17:03."),
        ("mooncake", "{\n", ":1: not JSON: "),
        ("mooncake", "[1]\n", ":1: must be an object with timestamp, input_length, output_length and hash_ids"),
        ("mooncake", json.dumps(GOOD | {"hash_ids": [0]}), ":1: hash_ids: has 1 blocks, where 600 tokens make 2 of 51"),
        ("mooncake", json.dumps(GOOD | {"hash_ids": None}), ":1: hash_ids: must be a list of whole numbers"),
        ("mooncake", json.dumps(GOOD | {"input_length": True}), ":1: input_length: must be a number, not True"),
        ("mooncake", json.dumps(GOOD | {"output_length": 0}), ":1: output_length: must be a whole number from 1 on"),
    ],
)
def test_a_wrong_line_is_told_where_it_stands(tmp_path: Path, layout: str, text: str, problem: str) -> None:
    path = tmp_path / "t"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_trace(path, layout)  # type: ignore[arg-type]
    (only,) = str(caught.value).splitlines()
    assert only.startswith(f"{path}{problem}")


def test_wrong_lines_are_told_together_up_to_twenty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,isl,osl\n" + "0,0,1\n" * 3 + "0,1,1\n" * 5 + "0,1,x\n" * 50)
    with pytest.raises(InputError) as caught:
        read_trace(path, "csv")
    assert [p.location.rsplit(":")[-1] for p in caught.value.problems] == [str(n) for n in [2, 3, 4, *range(10, 27)]]


def test_a_file_that_is_not_what_its_name_says_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_text("arrival_s,isl,osl\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "t.csv.gz", "csv")
    with pytest.raises(InputError, match="no such file"):
        read_trace(tmp_path / "nowhere", "csv")
