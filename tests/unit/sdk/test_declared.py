"""What a class declares is read without running it: plain values and what is made of them; the rest is told."""

from pathlib import Path
from typing import Any

import pytest

from lepton.sdk.declared import Source, Unread
from lepton.sdk.source import read_class

HEAD = "from lepton.serve import Service\n"


def read(folder: Path, text: str, name: str = "", **beside: str) -> dict[str, Any]:
    for module, content in beside.items():
        (folder / f"{module}.py").write_text(content)
    (folder / "s.py").write_text(HEAD + text)
    return read_class(folder / "s.py", name)


@pytest.mark.parametrize(
    ("value", "worth"),
    [
        ("300 << 20", 300 << 20),
        ("2 * 1024**3", 2 << 30),
        ("-(-7 // 2)", 4),
        ("'2' + ' GiB'", "2 GiB"),
        ("f'{GIB} GiB'", "4 GiB"),
        ("GIB * MORE", 8),
        ("sizes.BIG", 9),
        ("HERE", 9),
        ("Base.memory", 5),
        ("('a', *NAMES)", ("a", "b", "c")),
        ("[1 / 4]", [0.25]),
        ("None", None),
    ],
)
def test_what_can_be_worked_out_is(tmp_path: Path, value: str, worth: Any) -> None:
    text = (
        "import sizes\nfrom sizes import BIG as HERE\nGIB = 4\nNAMES: tuple = ('b', 'c')\n"
        f"class Base(Service):\n    memory = 5\nclass Shop(Base):\n    MORE = 2\n    memory = {value}\n"
    )
    assert read(tmp_path, text, sizes="BIG = 3 * 3\n") == {"memory": worth}


@pytest.mark.parametrize(
    ("lines", "line", "why"),
    [
        ("    memory = size()\n", 3, "calls size()"),
        ("    memory = os.environ['M']\n", 3, "more than a plain value"),
        ("    memory = torch.SIZE\n", 3, "torch.SIZE"),
        ("    memory = UNKNOWN\n", 3, "UNKNOWN"),
        ("    if BIG:\n        memory = 1\n", 4, "plain `name = value`"),
        ("    memory, cpus = 1, 2\n", 3, "plain `name = value`"),
        ("    memory = 1\n    memory += 1\n", 4, "plain `name = value`"),
        ("    @property\n    def memory(self) -> int:\n        return 1\n", 4, "plain `name = value`"),
        ("    memory = 1\nShop.memory = 2\n", 4, "outside its class"),
        ("    X = 1\n    memory = X\n    X = 3\n", 4, "more than one place"),
        ("    X = 1\n    X += 1\n    memory = X\n", 5, "more than one place"),
        ("    memory = 1\n    (memory := 2)\n", 4, "is changed"),
        ("    (memory := 2)\n", 3, "is changed"),
        ("    locals()['memory'] = 2\n", 3, "is changed"),
        ("    memory = [1]\n    memory.append(2)\n", 4, "is changed"),
        ("    memory = 1\n    del memory\n", 4, "is changed"),
        ("    memory = M\nM = 1\ndef f():\n    global M\n    M = 2\n", 3, "more than one place"),
        ("    memory = M\nM = [1]\nM.append(2)\n", 3, "more than one place"),
        ("    memory = 1\nsetattr(Shop, 'memory', 2)\n", 4, "outside its class"),
        ("    memory = 1\nShop.memory += 2\n", 4, "outside its class"),
        ("    memory = []\nShop.memory.append(2)\n", 4, "outside its class"),
        ("    memory = 1 << 9**9\n", 3, "too large"),
        ("    memory = 9 ** 9 ** 9\n", 3, "too large"),
        ("    memory = 1 / 0\n", 3, "worked out"),
        ("    memory = 'a' * 10**9\n", 3, "too large"),
        ("    memory = TWICE\nTWICE = 1\nif os:\n    TWICE = 2\n", 3, "more than one place"),
        ("    memory = LOOP\nLOOP = ROUND\nROUND = LOOP\n", 3, "more than a plain value"),
    ],
)
def test_what_cannot_is_told_with_its_place(tmp_path: Path, lines: str, line: int, why: str) -> None:
    found = read(tmp_path, "class Shop(Service):\n" + lines)["memory"]
    assert isinstance(found, Unread) and why in found.why and (found.file, found.line) == ("s.py", line), found
    assert str(found.fault("memory", "Mend it.")).startswith(f"s.py:{line}: `memory` cannot be read")


def test_bases_are_looked_at_as_python_does_also_those_in_a_file_beside_it(tmp_path: Path) -> None:
    diamond = (
        "class A(Service):\n    memory = 1\n    cpus = 1\nclass B(A):\n    pass\nclass C(A):\n    memory = 2\n"
        "class Shop(B, C):\n    replicas = 3\n"
    )
    assert read(tmp_path, diamond) == {"memory": 2, "cpus": 1, "replicas": 3}
    base = "from lepton.serve import Service as S\nGIB = 1 << 30\n"
    base += "class Base(S):\n    memory = 2 * GIB\n    files = ('a',)\n"
    assert read(tmp_path, "from base import Base as Root\nclass Shop(Root):\n    cpus = 1\n", base=base) == {
        "memory": 2 << 30,
        "files": ("a",),
        "cpus": 1,
    }
    assert read(tmp_path, "import base\nclass Shop(base.Base):\n    files = (*base.Base.files, 'b')\n") == {
        "memory": 2 << 30,
        "files": ("a", "b"),
    }
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "__init__.py").write_text("from .inner import Base\n")
    (tmp_path / "part" / "inner.py").write_text("from ..base import Base\n")
    assert read(tmp_path, "from part import Base\nclass Shop(Base): ...\n")["memory"] == 2 << 30
    assert read(tmp_path, "from base import Base\n", "Base")["memory"] == 2 << 30
    assert read(tmp_path, "from company import Base\nclass Shop(Base):\n    cpus = 2\n", "Shop") == {"cpus": 2}


def test_a_base_that_is_its_own_base_ends(tmp_path: Path) -> None:
    assert read(tmp_path, "class Shop(Shop):\n    cpus = 2\n", "Shop") == {"cpus": 2}
    assert read(tmp_path, "class A(B):\n    cpus = 2\nclass B(A): ...\n", "A") == {"cpus": 2}


def test_each_file_is_read_once_however_many_come_to_it(tmp_path: Path) -> None:
    for name, text in {"s": "import more\nimport bases\n", "more": "import bases\nimport s\n", "bases": ""}.items():
        (tmp_path / f"{name}.py").write_text(text)
    source = Source(tmp_path / "s.py", tmp_path)
    more = source.beside("more")
    assert more is not None and more.beside("s") is source
    assert source.beside("bases") is more.beside("bases") is not None
