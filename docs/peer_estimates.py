"""Answer questions with AIConfigurator 0.12: ``python docs/peer_estimates.py < questions.jsonl > answers.jsonl``.

Runs in an environment with ``aiconfigurator==0.12.0``, without this package. A question is one line of JSON, the
arguments of ``cli_estimate`` and a ``key``; its answer has the key, ``ttft_ms`` and ``tpot_ms``, or why there is none.
"""

from __future__ import annotations

import json
import logging
import pickle
import sys
import warnings
from contextlib import redirect_stdout
from typing import Any

import yaml

PARSE = yaml.load


def parse_once() -> None:
    """Remember parsed YAML: nearly all the time of a second call is spent on parsing the same manifests again."""
    parsed: dict[str | bytes, bytes] = {}

    def load(stream: Any, Loader: object = None) -> Any:
        text = stream.read() if hasattr(stream, "read") else stream
        if text not in parsed:
            parsed[text] = pickle.dumps(PARSE(text, yaml.CSafeLoader))
        return pickle.loads(parsed[text])

    yaml.load = yaml.safe_load = load


def main() -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    parse_once()
    from aiconfigurator.cli.api import cli_estimate

    known: dict[str, dict[str, Any]] = {}
    for line in sys.stdin:
        question = json.loads(line)
        key, same = question.pop("key"), json.dumps(question, sort_keys=True)
        if same not in known:
            try:
                with redirect_stdout(sys.stderr):
                    found = cli_estimate(**question)
                known[same] = {"ttft_ms": found.ttft, "tpot_ms": found.tpot}
            except Exception as error:  # whatever it says is its answer
                known[same] = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps({"key": key, **known[same]}), flush=True)


if __name__ == "__main__":
    main()
