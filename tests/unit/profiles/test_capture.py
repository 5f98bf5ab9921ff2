"""What a capture leaves on disk, on the CPU of the machine that runs the tests."""

from __future__ import annotations

import contextlib
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from paretosim.errors import InputError, ParetosimError
from paretosim.profiles.capture import attention, collectives, gemm, machine, run
from paretosim.profiles.capture.bench import Before, Bench, Case
from paretosim.profiles.capture.capture_shapes import full_grid, geometric, small_grid
from paretosim.profiles.capture.datasheet import PLACEHOLDER, Probes, build
from paretosim.profiles.capture.run import OPS, run_capture
from paretosim.profiles.capture.timing import SMALL, Graph, time_on_cpu, time_on_cuda
from paretosim.profiles.schema import SCHEMAS
from paretosim.profiles.sidecar import read_sidecar
from paretosim.spec.hardware import load_gpu

torch = pytest.importorskip("torch")
pd = pytest.importorskip("pandas")

MIB = 1 << 20


def silent(_: str) -> None:
    """Progress nobody looks at."""


def cpu_bench(progress=silent) -> Bench:
    return Bench("cpu", SMALL, memory_bytes=1 << 30, cache_bytes=0, progress=progress)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out, said = tmp_path_factory.mktemp("capture") / "profiles", []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other on a busy machine time the machine, not the work
    try:
        files = run_capture("some_cpu", out, "cpu", None, True, said.append)
    finally:
        torch.set_num_threads(threads)
    return SimpleNamespace(home=out / "some_cpu", out=out, files=files, said=said)


def table(captured: SimpleNamespace, op: str):
    return pd.read_parquet(captured.home / "torch" / f"{op}.parquet")


# --- what is on disk ---


@pytest.mark.parametrize("op", OPS)
def test_every_table_has_the_columns_of_its_schema_and_positive_finite_times(captured, op):
    frame = table(captured, op)
    assert list(frame.columns) == ["engine_version", *SCHEMAS[op].columns]
    assert not frame.duplicated([*SCHEMAS[op].lane, *SCHEMAS[op].axes]).any()
    assert np.isfinite(frame["latency_s"]).all() and (frame["latency_s"] > 0).all()


@pytest.mark.parametrize("op", OPS)
def test_every_table_says_who_measured_it_and_how(captured, op):
    provenance = read_sidecar(captured.home / "torch" / f"{op}.parquet")
    assert (provenance.status, provenance.engine, provenance.licence) == ("measured", "torch", "CC0-1.0")
    assert provenance.rows == len(table(captured, op)) == sum(provenance.kernels.values())
    assert provenance.engine_versions == {str(torch.__version__): provenance.rows}
    assert provenance.source.startswith("paretosim profile capture --gpu some_cpu --device cpu")
    assert "median of 3 runs" in provenance.method and str(torch.__version__) in provenance.method


def test_the_files_named_are_the_files_written_and_no_others(captured):
    on_disk = {p for p in captured.out.rglob("*") if p.is_file() and not p.name.endswith(".meta.yaml")}
    assert set(captured.files) == on_disk
    assert {p.name for p in captured.files} == {f"{op}.parquet" for op in OPS} | {"gpu.yaml"}


@pytest.fixture
def work_clock(monkeypatch):
    """A clock of the arithmetic done so far, not of a busy machine; 1 us an operation, so that one call is a run."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(q, k, v, *_, **__):
        return sdpa_flop_count(q, k, v)

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch counts those of GPUs only
    with FlopCounterMode(display=False, custom_mapping={on_cpu: attention}) as done:
        monkeypatch.setattr("time.perf_counter", lambda: 1e-6 * done.get_total_flops())
        yield


def test_the_time_of_a_matrix_product_is_that_of_one_product_of_its_shape(work_clock):
    rows = gemm.measure(cpu_bench(), small_grid("cpu")).rows
    assert len({row["dtype"] for row in rows}) == 2
    for row in rows:
        assert row["latency_s"] == pytest.approx(2e-6 * row["m"] * row["n"] * row["k"])


def test_products_in_float32_are_not_passed_off_as_bf16(captured):
    assert set(table(captured, "gemm")["dtype"]) == {"bf16", "fp32"}


@pytest.mark.parametrize(
    ("measure", "axis"), [(attention.measure_prefill, "isl"), (attention.measure_decode, "context")]
)
def test_attention_over_more_tokens_takes_longer(measure, axis, work_clock):
    series = {}
    for row in measure(cpu_bench(), small_grid("cpu")).rows:
        rest = tuple(sorted((k, v) for k, v in row.items() if k not in (axis, "latency_s")))
        series.setdefault(rest, []).append((row[axis], row["latency_s"]))
    assert series
    for points in series.values():
        times = [seconds for _, seconds in sorted(points)]
        assert len(times) > 1 and (np.diff(times) > 0).all()


def test_two_processes_measure_all_four_collectives(captured):
    frame = table(captured, "collectives")
    assert set(frame["operation"]) == {"all_reduce", "all_gather", "reduce_scatter", "alltoall"}
    assert set(frame["gpus"]) == {2} and set(frame["kernel"]) == {"gloo"}
    assert len(frame) == 4 * len(small_grid("cpu").collective_bytes)


def test_gpu_yaml_loads_and_marks_what_nobody_measured(captured):
    spec = load_gpu(captured.home / "gpu.yaml")
    assert spec.name == "some_cpu" and spec.device
    assert min(spec.flops["bf16"], spec.hbm_bytes, spec.hbm_bytes_per_s, spec.link_bytes_per_s) > 1e6
    assumed = {key for key, source in spec.sources.items() if source == PLACEHOLDER}
    assert assumed == {"nic_gb_s", "tdp_w", "usd_per_hour"}
    assert any("nic_gb_s, tdp_w, usd_per_hour" in line for line in captured.said)


def test_no_measured_product_beats_the_peak_of_gpu_yaml(captured):
    frame = table(captured, "gemm").query("dtype == 'bf16'")
    fastest = (2.0 * frame["m"] * frame["n"] * frame["k"] / frame["latency_s"]).max()
    assert fastest <= load_gpu(captured.home / "gpu.yaml").flops["bf16"] * 1.001  # four digits are kept


# --- never half, never over something else ---


def test_an_interrupted_capture_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(bench, grid):
        raise KeyboardInterrupt

    monkeypatch.setitem(OPS, "memcpy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_capture("some_cpu", tmp_path / "new" / "profiles", "cpu", ("launch", "memcpy"), True, silent)
    assert list(tmp_path.rglob("*")) == []


def test_a_failed_overwrite_leaves_the_old_tables_as_they_were(tmp_path, monkeypatch):
    run_capture("some_cpu", tmp_path, "cpu", ("launch",), True, silent)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(bench, grid):
        raise ParetosimError("memcpy: no shape could be measured")

    monkeypatch.setitem(OPS, "memcpy", fail)
    with pytest.raises(ParetosimError, match="memcpy"):
        run_capture("some_cpu", tmp_path, "cpu", ("launch", "memcpy"), True, silent, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_captured_folder_is_only_replaced_when_asked_and_other_tables_stay(tmp_path):
    run_capture("some_cpu", tmp_path, "cpu", ("launch",), True, silent)
    home = tmp_path / "some_cpu"
    (home / "gpu.yaml").write_text((home / "gpu.yaml").read_text().replace("tdp_w: 1.0", "tdp_w: 155.0"))
    with pytest.raises(InputError, match="some_cpu/torch exists; give --overwrite"):
        run_capture("some_cpu", tmp_path, "cpu", ("memcpy",), True, silent)

    files = run_capture("some_cpu", tmp_path, "cpu", ("memcpy",), True, silent, overwrite=True)
    assert files == [home / "torch" / "memcpy.parquet"]
    assert {p.name for p in (home / "torch").glob("*.parquet")} == {"launch.parquet", "memcpy.parquet"}
    assert load_gpu(home / "gpu.yaml").tdp_w == 155.0  # a hand-edited datasheet is not written over
    assert [p.name for p in tmp_path.iterdir()] == ["some_cpu"]


def test_a_shape_that_fails_is_counted_and_named_and_the_others_are_kept():
    def broken():
        raise RuntimeError("no kernel for this shape\nand a page of advice")

    good = Case({"n": 1}, 8, lambda: [lambda: None])
    said = []
    done = cpu_bench(said.append).measure(
        "gemm", [good, Case({"n": 2}, 8, broken), Case({"n": 3}, 2 << 30, broken)], "by hand"
    )
    assert [row["n"] for row in done.rows] == [1]
    assert done.left_out == {"no kernel for this shape": 1, "more memory than there is": 1}
    assert said == ["gemm: 1 shapes, 2 left out (no kernel for this shape; more memory than there is)"]
    with pytest.raises(ParetosimError, match="gemm: no shape could be measured: no kernel"):
        cpu_bench().measure("gemm", [Case({}, 8, broken)], "by hand")


# --- wrong questions ---


def test_an_unknown_operator_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(InputError, match=r"unknown operator 'gem' \(did you mean 'gemm'\?\)"):
        run_capture("some_cpu", tmp_path, "cpu", ("gem",), True, silent)


def test_everything_wrong_is_said_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        run_capture("../escape", tmp_path, "tpu", ("gem", "memcopy"), True, silent)
    assert [p.key for p in caught.value.problems] == ["--gpu", "--device", "--ops", "--ops"]
    assert list(tmp_path.iterdir()) == []


def test_the_full_grid_is_refused_on_a_cpu_and_cuda_where_there_is_none(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="add --small"):
        run_capture("some_cpu", tmp_path, "cpu", None, False, silent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="finds no CUDA device"):
        run_capture("some_gpu", tmp_path, "cuda", None, False, silent)


def test_without_torch_the_extra_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'paretosim\[capture\]'"):
        run_capture("some_cpu", tmp_path, "cpu", None, True, silent)


def test_torch_and_pandas_are_imported_only_when_something_is_measured():
    import subprocess

    code = "import sys, paretosim.profiles.capture.run as r; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


# --- shapes ---


def test_the_full_grid_holds_the_shapes_of_a_known_model():
    grid = full_grid()
    # Llama-3.1-70B on 8 GPUs: 8 + 2 x 1 heads of 128 from 8192; 2 x 28672 / 8 features.
    assert {(1280, 8192), (8192, 1024), (7168, 8192), (8192, 3584)} <= set(grid.gemm_sites)
    assert (8, 1, 128) in grid.heads
    assert max(b * s for b, s in grid.prefill) <= 131072 and (512, 131072) in grid.decode
    assert geometric(16) == (1, 2, 3, 4, 6, 8, 12, 16)


def test_folding_the_query_heads_of_a_group_gives_the_same_decode_attention():
    backend = attention._BACKENDS["cpu"][0]
    q, k, v = (torch.randn(2, heads, tokens, 64) for heads, tokens in ((8, 1), (2, 100), (2, 100)))
    folded = attention.sdpa(backend, attention.decode_operands(q, 2), k, v, causal=False)
    plain = torch.softmax(q @ k.repeat_interleave(4, 1).mT / 8.0, -1) @ v.repeat_interleave(4, 1)
    assert torch.allclose(folded.reshape(2, 8, 1, 64), plain, atol=1e-5)


def test_operands_too_small_to_leave_the_cache_are_copied_until_they_do():
    bench = Bench("cuda", SMALL, memory_bytes=1, cache_bytes=50 * MIB, progress=silent)
    assert bench.cold_copies(200 * MIB) == 1
    assert bench.cold_copies(40 * MIB) == 3
    assert bench.cold_copies(1) == SMALL.max_repeats
    assert cpu_bench().cold_copies(1) == 1


# --- clocks ---


def test_a_time_is_the_median_over_runs_of_the_mean_over_calls(monkeypatch):
    # Warm-up takes 1 s, so a run is one call; runs of 3, 9 and 2 s.
    ticks = iter([0, 1, 10, 13, 20, 29, 30, 32])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert time_on_cpu([lambda: None], SMALL).latency_s == 3


def test_short_calls_are_repeated_and_take_turns_over_their_operands():
    seen = []
    timing = time_on_cpu([lambda: seen.append("a"), lambda: seen.append("b")], SMALL, repeats=4)
    assert timing.repeats == 4
    assert seen[SMALL.warmups :] == ["a", "b", "a", "b"] * SMALL.runs


class FakeCuda:
    """Stands in for ``torch.cuda``: one second per call, a graph replays what was captured in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, can_capture: bool = True):
        self.now_s, self.capturing, self.can_capture, self.synchronized = 0, None, can_capture, 0
        self.stream = SimpleNamespace(wait_stream=lambda other: None)
        fakes = {"Event": self.event, "CUDAGraph": self.new_graph, "graph": self.graph, "synchronize": self.wait}
        fakes |= {"current_stream": lambda: None, "stream": lambda stream: contextlib.nullcontext()}
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def call(self) -> None:
        if self.capturing is None:
            self.now_s += 1
        else:
            self.capturing.calls += 1

    def wait(self) -> None:
        self.synchronized += 1

    def event(self, enable_timing: bool) -> SimpleNamespace:
        mark = SimpleNamespace(at_s=None, synchronize=lambda: None)
        mark.record = lambda: setattr(mark, "at_s", self.now_s)
        mark.elapsed_time = lambda end: 1e3 * (end.at_s - mark.at_s)
        return mark

    def new_graph(self) -> SimpleNamespace:
        made = SimpleNamespace(calls=0)
        made.replay = lambda: setattr(self, "now_s", self.now_s + made.calls)
        return made

    @contextlib.contextmanager
    def graph(self, made, stream, capture_error_mode):
        self.capturing = made
        try:
            yield
        finally:
            self.capturing = None
        if not self.can_capture:
            raise RuntimeError("operation not permitted when stream is capturing")


def test_on_cuda_the_repeats_are_replayed_as_one_graph(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    flushed = itertools.count()
    timing = time_on_cuda([cuda.call], SMALL, cuda.stream, repeats=5, before_run=lambda: next(flushed))
    assert timing.graph and timing.latency_s == pytest.approx(1)
    assert next(flushed) == SMALL.runs  # once before each run, never inside one


def test_on_cuda_a_run_starts_with_a_cold_a_warm_or_an_idle_device(monkeypatch):
    cuda, did = FakeCuda(monkeypatch), []
    scratch = SimpleNamespace(zero_=lambda: did.append("flush"))
    bench = Bench("cuda", SMALL, 1 << 30, MIB, silent, cuda.stream, scratch)
    for before, each_run in ((Before.COLD, ["flush"]), (Before.WARM, ["flush", "call"]), (Before.IDLE, [])):
        did.clear()
        case = Case({}, 8, lambda: [lambda: did.append("call")], repeats=1, before=before)
        assert bench.time(case).graph
        warmups_estimate_and_capture = ["call"] * (SMALL.warmups + 1)
        assert did == warmups_estimate_and_capture + each_run * SMALL.runs


def test_on_cuda_what_cannot_be_captured_is_launched_call_by_call_unless_a_graph_is_the_point(monkeypatch):
    cuda = FakeCuda(monkeypatch, can_capture=False)
    timing = time_on_cuda([cuda.call], SMALL, cuda.stream, repeats=5)
    assert not timing.graph and timing.latency_s == pytest.approx(1) and cuda.synchronized == 1
    with pytest.raises(RuntimeError, match="capturing"):
        time_on_cuda([cuda.call], SMALL, cuda.stream, graph=Graph.MUST)


def test_collectives_never_ask_for_a_graph_and_all_ranks_repeat_alike(monkeypatch):
    asked = []
    fake = SimpleNamespace(latency_s=1.0)
    monkeypatch.setattr(collectives, "time_on_cpu", lambda calls, policy, **options: asked.append(options) or fake)
    for size in (MIB, 2 * MIB):
        collectives._time("all_reduce", size, 2, torch.device("cpu"), SMALL)
    assert [options["repeats"] for options in asked] == [20, 5]


# --- the machine ---


def test_clocks_and_power_are_read_from_nvidia_smi_and_unknown_fields_left_out():
    before = machine.parse_sensors("345, 72.10, 31, 700.00, 570.86.15\n")
    after = machine.parse_sensors("1980, [N/A], 58, 700.00, 570.86.15\n")
    assert "power.draw" not in after
    phrase = machine.sensors_phrase(before, after)
    assert phrase == (
        "SM clock 345 -> 1980 MHz, power 72.10 W, temperature 31 -> 58 C, power limit 700.00 W, driver 570.86.15"
    )
    assert machine.sensors_phrase({}, machine.parse_sensors("")) == "clocks and power not read"


def test_gpu_yaml_takes_board_power_from_nvidia_smi_and_link_rate_from_the_all_gather():
    here = machine.Machine("GPU", gpus=4, memory_bytes=80 << 30, torch_version="2", libraries="torch 2")
    gathered = {"operation": "all_gather", "gpus": 4, "message_bytes": 4_000_000_000, "latency_s": 0.01}
    product = {"dtype": "bf16", "m": 10**4, "n": 10**4, "k": 10**4, "latency_s": 4e-3}
    copy = {"kernel": "device_to_device", "message_bytes": 10**9, "latency_s": 1e-3}
    probes = Probes([product], copy)
    contents = build(probes, here, {"power.limit": "700.00"}, {"collectives": [gathered], "gemm": [product]})
    assert (contents["tflops"], contents["hbm_gb_s"]) == ({"bf16": 500.0}, 2000.0)
    assert (contents["tdp_w"], contents["gpus_per_node"], contents["hbm_gib"]) == (700.0, 4, 80.0)
    assert contents["link_gb_s"] == 300.0  # 4 GB x 3/4 in 10 ms
