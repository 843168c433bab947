"""What goes up with a service: its own Python files, and nobody else's."""

from pathlib import Path

import pytest

from lepton.core.errors import InvalidError
from lepton.sdk.source import read_class, read_source


def test_data_of_a_platform_and_virtual_environments_stay_where_they_are(tmp_path: Path) -> None:
    for name in ("service.py", "part/beside.py", "data/objects/old.py", "env/lib/other.py", "keys/key/kept.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("class A: pass")
    for name in ("data/key", "data/token", "env/pyvenv.cfg"):
        (tmp_path / name).write_text("")
    found = [name for name, _ in read_source(f"{tmp_path}/service.py:A").files]
    assert sorted(found) == ["keys/key/kept.py", "part/beside.py", "service.py"]


def test_a_class_asks_for_what_it_and_its_bases_say_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "class Base(lepton.serve.Service):\n    memory = '300 MiB'\n    cpus = 0.1\n"
        "class Shop(Base):\n    replicas = 2\n    cpus = 1 / 10\n"
        "class Order(BaseModel):\n    replicas: int = 9\n"
    )
    assert read_class(tmp_path / "s.py", "") == {"memory": "300 MiB", "replicas": 2, "cpus": 0.1}
    assert read_class(tmp_path / "s.py", "Order") == {"replicas": 9}


def test_a_file_without_a_class_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import os\n")
    with pytest.raises(InvalidError, match="has no class"):
        read_source(f"{tmp_path}/s.py")
