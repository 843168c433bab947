"""A Photon program on a real platform: deployed unchanged from its file and from a `.photon` file, and asked."""

import json
import os
import pickle
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from lepton.core.errors import JobFailedError
from lepton.sdk.endpoints import Endpoint
from tests.walk.house import LEPTON, House, opened_house
from tests.walk.test_escapes import needs_layers

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
        for address in (endpoint.url, endpoint.url.removeprefix("http://"), f"{endpoint.url}/docs"):
            assert house.client.serve.get(address).id == endpoint.id

        (tmp_path / "reader.py").write_text(PROGRAM.replace("from words import shout", "shout = str.title"))
        words = [*LEPTON[:2], "lepton.cli.photon", "photon", "create", "-n", "reader", "-m", "reader.py"]
        env = {**house.env, "LEPTON_CACHE_DIR": str(tmp_path)}
        subprocess.run(words, cwd=tmp_path, env=env, check=True, capture_output=True)
        stored = house.client.serve.deploy(f"photon:{tmp_path}/reader.photon", name="stored").wait()
        assert ask(house, stored, "/word", {"n": 0}) == (200, "One")
        stored.delete().wait("deleted")

        meta = {"entry": "photon:reader.photon"}
        house.client.catalog.upload([tmp_path / "reader.photon"], kind="model", name="readers", meta=meta)
        named = house.client.serve.deploy("readers", name="named").wait()
        assert ask(house, named, "/word", {"n": 0}) == (200, "One")

        (tmp_path / "reader.py").write_text(
            "from leptonai.photon import Photon\nclass A(Photon):\n    def init(self): 1 / 0\n"
        )
        broken = house.client.serve.deploy(f"photon:{tmp_path}/reader.py", name="broken")
        with pytest.raises(JobFailedError, match="ZeroDivisionError"):
            broken.wait()
        for each in (endpoint, named, broken):
            each.delete().wait("deleted")
        house.end()


EVIL = """
import os

def attempt(what, *words):
    try:
        return "got " + repr(what(*words))
    except OSError as fault:
        return "refused: " + fault.strerror

for path in {paths!r}:
    print("read", os.path.basename(path), attempt(open, path), flush=True)
print("list", attempt(os.listdir, {home!r}), flush=True)
attempt(open, {left!r}, "w")  # in a temporary folder of its own it may
print("signal", attempt(os.kill, {server}, 18), flush=True)
raise ValueError("it has done all it could")
"""


class Evil:
    """Whoever unpickles it runs its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> Any:
        return exec, (self.text,)


def make_evil(place: Path, **told: Any) -> Path:
    with zipfile.ZipFile(place, "w") as file:
        about = {"name": "evil", "model": "evil", "type": "photon", "py_obj": {"obj_pkl_file": "obj.pkl"}}
        file.writestr("metadata.json", json.dumps(about))
        file.writestr("obj.pkl", pickle.dumps(Evil(EVIL.format(**told))))
    return place


def said_by(log: str) -> dict[str, str]:
    """What was tried -> how it went."""
    lines = (
        line.rpartition(" refused") for line in log.splitlines() if line.startswith(("read", "list", "write", "sig"))
    )
    return {before: middle.strip() for before, middle, _ in lines}


TRIED = {"read token": "refused", "read key": "refused", "read .netrc": "refused", "read shadow": "refused"}
TRIED |= {"list": "refused", "signal": "refused"}


@needs_layers
def test_a_pickle_that_runs_what_its_maker_wants_gets_at_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text("password")
    with opened_house() as house:
        server = house.up()
        secrets = [str(house.data / "token"), str(house.data / "key"), str(tmp_path / "home/.netrc"), "/etc/shadow"]
        told = {"paths": secrets, "home": str(tmp_path / "home"), "left": str(tmp_path / "left"), "server": server}
        evil = make_evil(tmp_path / "evil.photon", **told)
        endpoint = house.client.serve.deploy(f"photon:{evil}", name="evil")
        with pytest.raises(JobFailedError):
            endpoint.wait()
        assert said_by("".join(house.client.jobs.get(endpoint.refresh().job).logs(rank=1))) == TRIED
        assert not (tmp_path / "left").exists()
        assert house.lepton("status").returncode == 0
        endpoint.delete().wait("deleted")
        house.end()


@needs_layers
def test_nor_does_one_that_is_served_without_a_platform(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    for name in ("token", "key", ".netrc"):
        (tmp_path / "home" / name).write_text("password")
    secrets = [str(tmp_path / "home" / name) for name in ("token", "key", ".netrc")]
    (tmp_path / "code").mkdir()
    told = {"home": str(tmp_path / "home"), "left": str(tmp_path / "left"), "server": os.getpid()}
    evil = make_evil(tmp_path / "code" / "evil.photon", paths=[*secrets, "/etc/shadow"], **told)
    command = [*LEPTON, "serve", "run", f"photon:{evil}", "--port", "0", "--no-reload"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        log = run.stdout.read()
        assert run.wait(60) != 0, log
    assert said_by(log) == TRIED
    assert not (tmp_path / "left").exists()
