"""A Photon program on a real platform: deployed unchanged from its file and from a `.photon` file, and asked."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from lepton.core.errors import JobFailedError
from lepton.sdk.endpoints import Endpoint
from tests.walk.house import LEPTON, House, opened_house

PROGRAM = """
from leptonai.photon import HTTPException, Photon
from words import shout

class Reader(Photon):
    extra_files = {"data/words.txt": "words.txt"}

    def init(self):
        with open("data/words.txt") as file:
            self.words = file.read().split()

    @Photon.handler
    def word(self, n: int) -> str:
        if n >= len(self.words):
            raise HTTPException(status_code=404, detail="no such word")
        return shout(self.words[n])
"""


def ask(house: House, endpoint: Endpoint, path: str, body: Any) -> tuple[int, Any]:
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {(house.data / 'token').read_text().strip()}",
    }
    try:
        with urlopen(Request(f"{endpoint.url}{path}", json.dumps(body).encode(), headers)) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as fault:
        return fault.code, json.loads(fault.read())


def test_a_photon_is_deployed_unchanged_and_its_pickle_too(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(PROGRAM)
    (tmp_path / "words.py").write_text("def shout(word):\n    return word.upper()\n")
    (tmp_path / "words.txt").write_text("one two")
    with opened_house() as house:
        house.up()
        said = house.lepton("serve", "deploy", f"photon:{tmp_path}/reader.py:Reader", "--name", "reader")
        assert said.returncode == 0, said.stderr
        endpoint = house.client.serve.get("reader")
        assert ask(house, endpoint, "/word", {"n": 1}) == (200, "TWO")
        assert ask(house, endpoint, "/word", {"n": 2}) == (404, {"error": "no such word"})
        assert ask(house, endpoint, "/word", {"n": "x"})[0] == 422

        (tmp_path / "reader.py").write_text(PROGRAM.replace("from words import shout", "shout = str.title"))
        words = [*LEPTON[:2], "lepton.cli.photon", "photon", "create", "-n", "reader", "-m", "reader.py"]
        env = {**house.env, "LEPTON_CACHE_DIR": str(tmp_path)}
        subprocess.run(words, cwd=tmp_path, env=env, check=True, capture_output=True)
        stored = house.client.serve.deploy(f"photon:{tmp_path}/reader.photon", name="stored").wait()
        assert ask(house, stored, "/word", {"n": 0}) == (200, "One")

        (tmp_path / "reader.py").write_text(
            "from leptonai.photon import Photon\nclass A(Photon):\n    def init(self): 1 / 0\n"
        )
        broken = house.client.serve.deploy(f"photon:{tmp_path}/reader.py", name="broken")
        with pytest.raises(JobFailedError, match="ZeroDivisionError"):
            broken.wait()
        for each in (endpoint, stored, broken):
            each.delete().wait("deleted")
        house.end()
