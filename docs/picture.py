"""Draw what a real `lepton walk` printed: `python docs/picture.py [FILE]` writes docs/images/walk.svg.

Without FILE it runs the walk on a platform of its own. The text in the picture is text.
"""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
WIDTH = 176
FONT_FACES = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def run_walk() -> str:
    """What the walk prints to a pipe."""
    command = [sys.executable, "-m", "lepton.cli.main", "walk", "--fresh"]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def settled(output: str) -> str:
    """The output as a terminal shows it in the end: what a line overwrote is gone."""
    return "\n".join(line.rpartition("\r")[2] for line in output.replace("\r\n", "\n").splitlines())


def draw(output: str) -> str:
    """An SVG of a terminal with this text; no fonts are loaded from elsewhere."""
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(Text("$ sh run walk", style="bold"))
    for line in output.splitlines():
        is_head = line.startswith("station")
        console.print(Text(line, style="bold" if is_head else ""))
    return FONT_FACES.sub("", console.export_svg(title="lepton walk", unique_id="walk"))


if __name__ == "__main__":
    text = settled(Path(sys.argv[1]).read_bytes().decode() if len(sys.argv) > 1 else run_walk())
    (HERE / "images").mkdir(exist_ok=True)
    (HERE / "images" / "walk.svg").write_text(draw(text))
