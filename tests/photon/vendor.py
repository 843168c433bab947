"""Run the vendor's own Photon tests, those of its last release that had any, against our Photon.

    sh run vendor [--work FOLDER] [--front] [--hub] [FILE ...]

It makes an environment in FOLDER (the release stands only beside starlette < 1; versions are pinned in
constraints.txt beside this file), unpacks the release there, takes `leptonai/photon` and `leptonai/cli` out of it,
and runs its tests with ours in their place: `leptonai.photon`, `leptonai.config` as far as Photon has names there,
and the command `lep`. What else they need (`leptonai.client`, `.util`, `.api`) stays the release's. With --front each
photon is served behind a front, as on the platform, else in the process of `lep photon runlocal` as by the vendor; a
front answers /healthz before its photon is ready, so what starts a photon for a test then waits for /readyz. Without
--hub nothing is looked for on the hub of models: where it cannot be reached each attempt takes minutes.

A test that fails for no known reason is run once more, and that is told. Exits with 1 if one failed that is not known
to need what is not here. Minutes long; not part of CI.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
import zipfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

RELEASE = "leptonai==0.27.3"
NEEDS = (
    "fastapi==0.115.12",
    "httpx[http2]==0.27.2",
    "anyio==4.9.0",
    "cloudpickle==3.0.0",
    *("click", "contextlib2", "exceptiongroup", "loguru", "pillow", "pyyaml", "python-multipart", "requests", "rich"),
    *("huggingface_hub", "ray", "uvicorn", "numpy", "flask", "gradio<5.30", "respx", "pytest", "pytest-timeout"),
    *("a2wsgi", "asgi-proxy-lib", "httptools", "msgpack", "orjson", "transformers", "uvloop", "websockets"),
)
PINS = Path(__file__).with_name("constraints.txt")
TORCH = ("torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "filelock", "fsspec")
ROOT = Path(__file__).parents[2]
HUB, NETWORK, LOGIN = "wants a model of the hub", "wants a public web server", "wants a workspace of the vendor"
REVISION = "wants the hub, which is asked for the model's revision"
KNOWN = {
    "TestUtil.test_get_file_content": NETWORK,
    "TestFile.test_file_str": NETWORK,
    "TestFileWithPhotonServer.test_file_with_photon_server": NETWORK,
    "TestPhoton.test_mount_asgi_proxy": NETWORK,
    "TestPhotonCli.test_photon_run": f"{HUB}, and the vendor's classes for each task, which are not here",
    "TestPhotonCli.test_photon_run_path": HUB,
    "TestPhotonCli.test_photon_run_post_file": f"{HUB}, and ffmpeg",
    "TestPhotonCli.test_photon_run_post_multi_files": f"{HUB}, and ffmpeg",
    "TestPhotonCli.test_hf_embed": f"{HUB}, and the vendor's class for its task, which is not here",
    "TestPhotonCli.test_photon_model_spec": HUB,
    "TestClient.test_client": HUB,
    "TestClient.test_client_with_token": HUB,
    "TestPhotonSdk.test_create": REVISION,
    "TestPhotonSdk.test_run": HUB,
    "TestPhotonSdk.test_save_and_load": REVISION,
    "TestHF.test_hf_photon_extra_dependency": f"{HUB}, and its requirements.txt, which is not read here",
    "TestHF.test_hf_photon_local_run": HUB,
    "TestHF.test_photon_file_metadata": "wants the hub, which is asked for the model's task",
    "TestvLLM.test_run_vllm_photon": "wants a GPU",
    "TestWorker.test_worker": LOGIN,
    "TestWorker.test_graceful_exit": LOGIN,
    "TestWorker.test_worker_max_concurrency": LOGIN,
}
"""Test -> what it needs that is not on this machine. Where ours would still fail with it, that is told."""
FRONT = {
    "TestClientTimeout.test_client_timeout_streaming": "a replica writes no access log",
    "TestPhoton.test_extra_files": "a replica of a .photon file has a folder of its own",
    "TestPhotonCOD.test_cancel_on_disconnect": "a front that is asked to end waits for no disconnect to be noticed",
    "TestPhotonGraceful.test_graceful_incoming_graffic": "a front that is asked to end stops listening at once",
    "TestPhotonGraceful.test_graceful_shutdown": "a front that is asked to end stops listening at once",
}
"""With --front only."""
HEALTH = (
    'requests.get(f"http://localhost:{port}/healthz")',
    'requests.get(f"http://localhost:{port}/readyz").raise_for_status()',
)
MARK = "VENDOR_TESTS"
"""Variable that all processes of a run inherit; its value is the run's process id."""
UNSEEN = ("@skip_if_macos\nclass ", "class ")
"""The decorator makes a function of the class, in which pytest then finds no tests."""
RACE = ("        sleep(2)\n", "        sleep(2)\n        time.sleep(0.2)\n")
"""It starts a thread that asks for something, and looks at once whether the server has been asked: without a pause it
often looks before the thread has sent anything."""
GONE = ("requests.exceptions.ConnectionError", "requests.exceptions.RequestException")
START = """#!{python}
import sys
from lepton.serve.photon import alias
alias.install({{"leptonai.cli": ("lepton.cli.photon",)}})
"""
LEP = """from lepton.cli.photon import lep
if sys.argv[1:3] == ["photon", "runlocal"]:
    sys.argv[3:3] = {flags}
lep()
"""
TESTS = """import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def make(work: Path, *, has_front: bool) -> Path:
    """The environment and the unpacked release; gives its Python."""
    python = work / "env" / "bin" / "python"
    if not python.exists():
        venv.create(work / "env", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", PINS, *NEEDS], check=True)
        _share_torch(work, python)
    if not (work / "release").exists():
        pip = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, RELEASE]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(work.glob("leptonai-*.whl"))) as wheel:
            names = [name for name in wheel.namelist() if name.startswith("leptonai/")]
            wheel.extractall(work / "release", names)
        package = work / "release" / "leptonai"
        (package / "photon" / "tests").rename(work / "tests")
        shutil.rmtree(package / "photon")
        shutil.rmtree(package / "cli")
    (work / "bin").mkdir(exist_ok=True)
    start = START.format(python=python)
    (work / "bin" / "lep").write_text(start + LEP.format(flags=["--front"] if has_front else []))
    (work / "bin" / "lep").chmod(0o755)
    (work / "tests.py").write_text(start + TESTS)
    _adapt(work, has_front=has_front)
    return python


def _adapt(work: Path, *, has_front: bool) -> None:
    """Let pytest see all tests, let none race with itself, and let them wait for what a front tells of its photon."""
    original = work / "utils.txt"
    if not original.exists():
        shutil.copy(work / "tests" / "utils.py", original)
    text = original.read_text()
    (work / "tests" / "utils.py").write_text(text.replace(*HEALTH).replace(*GONE) if has_front else text)
    for file in (work / "tests").glob("test_*.py"):
        text = file.read_text().replace(*UNSEEN)
        file.write_text(text if RACE[1] in text else text.replace(*RACE))


def _share_torch(work: Path, python: Path) -> None:
    """Let the environment use the torch of this one, if it has it: it is large."""
    if find_spec("torch") is None:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "torch"], check=True)
        return
    links = work / "torch"
    links.mkdir(exist_ok=True)
    for name in TORCH:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            (links / name).symlink_to(Path(spec.origin).parent)
    site = next((work / "env" / "lib").glob("python*/site-packages"))
    (site / "zz_torch.pth").write_text(f"{links}\n")


def run(work: Path, python: Path, files: list[str], *, asks_hub: bool) -> list[tuple[str, str, str]]:
    """(test, how it ended, in what words) of every test function."""
    env = {
        **os.environ,
        "PATH": f"{work / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{work / 'release'}",
        "LEPTON_CACHE_DIR": "",
        "HF_HUB_OFFLINE": "0" if asks_hub else "1",
        MARK: str(os.getpid()),
    }
    chosen = files or sorted(path.name for path in (work / "tests").glob("test_*.py"))
    found = []
    for name in chosen:
        endings = _pytest(work, python, env, name) or [(name, "failed", "it did not run")]
        for at, (test, ending, _) in enumerate(endings):
            if ending == "failed" and not known(test):  # several race with whatever else the machine does
                say(f"again: {test}")
                endings[at : at + 1] = _pytest(
                    work, python, env, f"{name}::{test.partition('::')[2].replace('.', '::')}"
                )
        end_left()
        done = [ending for _, ending, _ in endings]
        say(f"{name}: {done.count('passed')} of {len(done)} passed")
        found += endings
    return found


def _pytest(work: Path, python: Path, env: dict[str, str], what: str) -> list[tuple[str, str, str]]:
    """Run a file of tests, or one of them."""
    name = what.partition("::")[0]
    report = work / f"{name}.xml"
    report.unlink(missing_ok=True)
    words = ["-q", "-W", "ignore", "--timeout", "200", "-o", "junit_family=xunit1", f"--junitxml={report}", what]
    with (work / f"{name}.log").open("w" if what == name else "a") as log:
        command = [python, work / "tests.py", *words]
        subprocess.run(command, cwd=work / "tests", env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
    return list(read(report, name)) if report.exists() else []


def end_left() -> None:
    """Kill what tests have left running: they kill the command, and behind a front its workers outlive it."""
    mark = f"{MARK}={os.getpid()}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(place.name) != os.getpid() and mark in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


def read(report: Path, file: str) -> list[tuple[str, str, str]]:
    """The tests of one report; of one with parts the worst part counts."""
    found: dict[str, tuple[str, str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{file}::{str(case.get('classname')).rpartition('.')[2]}.{case.get('name')}"
        ending, words = "passed", ""
        for part in case:
            if part.tag in ("failure", "error", "skipped"):
                ending = "skipped" if part.tag == "skipped" else "failed"
                words = str(part.get("message", "")).strip().splitlines()[0][:110] if part.get("message") else ""
        if found.get(name, ("passed", ""))[0] == "passed":
            found[name] = (ending, words)
    return [(name, *ending) for name, ending in found.items()]


def known(test: str) -> str:
    """Why a test cannot pass here; empty if it should."""
    return KNOWN.get(test.partition("::")[2], "")


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Make, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "lepton-vendor-tests")
    parser.add_argument("--front", action="store_true")
    parser.add_argument("--hub", action="store_true")
    parser.add_argument("files", nargs="*")
    wish = parser.parse_args()
    work = wish.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    KNOWN.update(FRONT if wish.front else {})
    endings = run(work, make(work, has_front=wish.front), wish.files, asks_hub=wish.hub)
    bad = [one for one in endings if one[1] != "passed"]
    for test, ending, words in bad:
        say(f"{ending}: {test}: {known(test) or 'NOT KNOWN'} ({words})")
    unknown = [one for one in bad if one[1] == "failed" and not known(one[0])]
    say(f"{len(endings) - len(bad)} passed, {len(bad) - len(unknown)} cannot here, {len(unknown)} failed")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
