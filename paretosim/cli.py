"""The command line: arguments in, one call, text out. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ._version import __version__
from .errors import ParetosimError

_EPILOG = "docs: docs/architecture.md, docs/scenarios.md; exit codes: 0 done, 1 failed, 2 the input is wrong"


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profiles", action="append", type=Path, default=[], metavar="DIR",
                        help="look for profiles here first (also $PARETOSIM_PROFILES); may be repeated")  # fmt: skip
    parser.add_argument("--calibration", action="append", type=Path, default=[], metavar="FILE",
                        help="engine parameters of your own, from `paretosim calibrate`; may be repeated")  # fmt: skip
    parser.add_argument("--uncalibrated", action="store_true", help="kernels alone, without an engine's parameters")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--executor", choices=("auto", "serial", "processes", "ray"), default="auto",
                        help="where tasks run (default: serial until processes pay)")  # fmt: skip
    parser.add_argument("--jobs", type=_positive, metavar="N", help="processes, or workers of a local Ray cluster")
    parser.add_argument("--ray-address", metavar="A", help="use this Ray cluster, e.g. auto or 10.0.0.1:6379")
    parser.add_argument("--resume", action="store_true", help="go on from what a stopped run of this input finished")


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    parser = argparse.ArgumentParser(
        prog="paretosim", description="How many prefill and how many decode GPUs, in which shape.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"paretosim {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    sweep = commands.add_parser("sweep", help="score every design of a scenario, extract the frontier of each mix")
    sweep.add_argument("scenario", type=Path, metavar="SCENARIO.yaml")
    sweep.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<name>-<id>/")
    sweep.add_argument("--certify", action="store_true", help="replay the frontier request by request at several loads")
    sweep.add_argument("--across-engines", action="store_true", help="also sweep the other engines: what is gained if"
                       " each way of serving takes its best one")  # fmt: skip
    sweep.add_argument("--no-prune", action="store_true", help="score beaten designs too: the same answer, later")
    sweep.add_argument("--keep-designs", action="store_true", help="also write every feasible design: designs.parquet")
    _execution(sweep)
    _common(sweep)

    study = commands.add_parser("study", help="sweeps that answer the literature: published against computed")
    study.add_argument("study", nargs="?", metavar="NAME", help="a name or a file; left out: list them")
    study.add_argument("--out", type=Path, metavar="DIR", help="default: runs/study-<name>/")
    _common(study)

    simulate = commands.add_parser("simulate", help="one deployment under traffic, request by request")
    simulate.add_argument("scenario", type=Path, metavar="SCENARIO.yaml")
    simulate.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<name>-<id>/")
    simulate.add_argument("--seed", type=_seed, help="of everything random (default: the scenario's)")
    simulate.add_argument("--timeline", action="store_true", help="also write timeline.json, which Perfetto opens")
    simulate.add_argument("--allow-plugins", action="store_true",
                          help="let the scenario name policies of your own as module:Class")  # fmt: skip
    _common(simulate)

    estimate = commands.add_parser("estimate", help="one engine step: seconds by operator, memory by part")
    estimate.add_argument("model", metavar="MODEL", help="catalogue name, or the path of a config.json")
    estimate.add_argument("--gpu", required=True, help="see `paretosim profile list`")
    estimate.add_argument("--engine", default="trtllm", help="whose kernels (default: trtllm)")
    estimate.add_argument("--release", metavar="VERSION", help="of the engine (default: the newest that was timed)")
    estimate.add_argument(
        "--precision", help="of the weights: bf16, fp8, fp8_block, fp4, mxfp4, int8, int4 (default: as stored)"
    )
    estimate.add_argument("--kv-cache", help="precision of the KV cache (default: the engine's own)")
    estimate.add_argument("--tp", type=_positive, default=1, help="tensor-parallel width")
    estimate.add_argument("--pp", type=_positive, default=1, help="pipeline stages")
    estimate.add_argument("--cp", type=_positive, default=1, help="groups that share a prompt's tokens (prefill)")
    estimate.add_argument("--attn-dp", type=_positive, default=1, help="groups that attend to different sequences")
    estimate.add_argument(
        "--ep", type=_positive, help="GPUs over which experts are spread (default: what --moe-tp leaves)"
    )
    estimate.add_argument("--moe-tp", type=_positive, help="GPUs that share an expert (default: what --ep leaves)")
    estimate.add_argument("--expert-load", metavar="LOAD",
                          help="balanced, power_law, log_linear, or comma-separated shares of the experts "
                          "(default: as the tables were measured)")  # fmt: skip
    estimate.add_argument("--legal-for", choices=("engine", "any"), default="engine", help="any: layouts too that the"
                          " engine cannot run")  # fmt: skip
    estimate.add_argument("--redundant-experts", type=int, default=0, help="slots of a layer for copies of hot experts")
    estimate.add_argument("--expert-balancer", action="store_true", help="experts are placed by their load (EPLB)")
    estimate.add_argument("--two-batch-overlap", action="store_true", help="one half computes while the other's tokens "
                          "are exchanged")  # fmt: skip
    estimate.add_argument("--cache-expanded", action="store_true", help="keep what latent attention expands in prefill")
    estimate.add_argument("--phase", choices=("prefill", "decode", "encode"), default="decode")
    estimate.add_argument("--batch", type=_positive, default=1, help="prompts, or running sequences")
    estimate.add_argument("--isl", type=_positive, help="prompt length (prefill)")
    estimate.add_argument("--prefix", type=int, default=0, help="cached part of the prompt (prefill)")
    estimate.add_argument("--context", type=_positive, help="tokens each sequence attends to (decode)")
    estimate.add_argument("--draft-tokens", type=_positive, default=0, help="tokens the model's MTP layers propose")
    estimate.add_argument("--acceptance", type=_share, help="chance that a proposed token is accepted (0 to 1)")
    estimate.add_argument("--images", type=_positive, help="images of one step (encode)")
    estimate.add_argument("--height", type=_positive, help="of one image [px] (encode)")
    estimate.add_argument("--width", type=_positive, help="of one image [px] (encode)")
    estimate.add_argument("--json", action="store_true", help="print JSON")
    _common(estimate)

    validate = commands.add_parser("validate", help="predict measured deployments, print the errors")
    validate.add_argument("measured", type=Path, metavar="MEASURED.csv[.gz]",
                          help="or the word aiconfigurator-core: rows of that installed package")  # fmt: skip
    validate.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<file>-<id>/")
    validate.add_argument("--prompts-per-slot", type=_positive, help="of the client (default: as its scripts say)")
    validate.add_argument("--recipes", choices=("benchmark", "none"), default="benchmark", help="how engines were"
                          " launched: as the public benchmark's recipes say, or by their own defaults")  # fmt: skip
    _execution(validate)
    _common(validate)

    calibrate = commands.add_parser("calibrate", help="fit an engine's parameters on measured deployments")
    calibrate.add_argument("--rows", type=Path, required=True, metavar="MEASURED.csv[.gz]")
    calibrate.add_argument("--engine", help="whose rows, where there are several")
    calibrate.add_argument("--out", type=Path, help="file to write (default: ENGINE.calibration.yaml)")
    calibrate.add_argument("--into", type=Path, metavar="DIR", help="fit every engine from scratch, leaving each group"
                           " out in turn, and write its file and the bands in this profile folder")  # fmt: skip
    calibrate.add_argument("--learning-curve", action="store_true", help="only: error against rows given")
    _execution(calibrate)
    _common(calibrate)

    profile = commands.add_parser("profile", help="what was measured, by whom, how well it interpolates")
    verbs = profile.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="GPUs, engines and tables")
    _common(listing)
    show = verbs.add_parser("show", help="one GPU's facts, tables, repairs and leave-one-out errors")
    show.add_argument("gpu")
    show.add_argument("--engine", help="only this engine's tables")
    _common(show)
    importing = verbs.add_parser("import", help="repack measurements that others published")
    importing.add_argument("source", choices=("aiconfigurator", "aisimulate"))
    importing.add_argument("--from", dest="origin", type=Path, metavar="DIR", help="'systems' folder of the wheel")
    importing.add_argument("--out", type=Path, default=Path("hwprofiles"), metavar="DIR")
    importing.add_argument("--gpu", action="append", default=[], help="only this GPU; may be repeated")
    _common(importing)
    capture = verbs.add_parser("capture", help="measure the GPU of this machine")
    capture.add_argument("--gpu", required=True, metavar="NAME", help="folder name of the new profile")
    capture.add_argument("--out", type=Path, default=Path("hwprofiles"), metavar="DIR")
    capture.add_argument("--device", default="cuda", help="cuda or cpu")
    capture.add_argument("--ops", help="comma-separated; default: all this machine can do")
    capture.add_argument("--small", action="store_true", help="a few shapes of each operator")
    capture.add_argument("--overwrite", action="store_true", help="replace tables captured before")
    _common(capture)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        import_module(f".commands.{args.command}", __package__).run(args)
        return 0
    except ParetosimError as error:
        if args.debug:
            raise
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from here" if "resume" in args else "interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output is gone (`paretosim ... | head`): nothing is left to say.
        sys.stderr.close()
        return 1
    except Exception as error:
        if args.debug:
            raise
        print(f"{type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return 1


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {text!r}")
    return value
