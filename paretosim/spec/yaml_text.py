"""Read the YAML files of the package with libyaml where PyYAML has it, ten times as fast as in Python."""

from __future__ import annotations

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str | bytes) -> Any:
    """The one document of `text`.

    Raises
    ------
    yaml.YAMLError
        It is not YAML.
    """
    return yaml.load(text, LOADER)
