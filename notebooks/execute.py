"""Run the notebooks and keep what they show: ``python notebooks/execute.py`` writes an ``.ipynb`` beside each source.

Two runs differ as little as may be: cells are numbered, not counted, and pictures have few colours.
"""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SOURCES = ("quickstart", "certified", "simulation")
COLOURS = 64


def executed(source: Path) -> Any:
    """The notebook of a percent source, run in its own folder, with its outputs."""
    import jupytext
    from nbclient import NotebookClient

    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    notebook = jupytext.read(source)
    where = {"metadata": {"path": str(source.parent)}}
    NotebookClient(notebook, timeout=600, resources=where, coalesce_streams=True).execute()
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """Without what differs from run to run or from machine to machine."""
    notebook.metadata.pop("language_info", None)
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = None
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    return notebook


def smaller(picture: str) -> str:
    """A picture in base64, in few colours."""
    from PIL import Image

    packed = io.BytesIO()
    drawn = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    drawn.quantize(COLOURS).save(packed, "png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


def main() -> None:
    """Run every source and write its notebook."""
    import nbformat

    for name in SOURCES:
        nbformat.write(executed(FOLDER / f"{name}.py"), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
