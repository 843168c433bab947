"""Photon programs over a real front and a real replica: the vendor's HTTP surface, statuses, bodies and names."""

import base64
import json
import os
import pickle
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.server.serving.house import House, open_service, wait_until


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_service("photon:photons.py:Everything") as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is ready", 30)
        yield house


def post(house: House, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    return house.ask("POST", path, data, **{"content_type": "application/json", **headers})[:2]


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/", {"x": 2}, 6.0),
        ("/anything", {"x": None, "a": 1, "b": [2]}, [None, {"a": 1, "b": [2]}]),
        ("/image", {"content": "bytes"}, b"bytes"),
        ("/stream", {"n": 4}, b"0,1,2,3,"),
        ("/last_lines", {"inputs": [{"content": "encoded:" + base64.b64encode(b"1\n2").decode()}]}, ["2"]),
        ("/read", {"file": {"content": "data:text/plain;base64," + base64.b64encode(b"abc").decode()}}, "abc"),
        ("/hidden", {}, "hidden"),
        ("/child/greet", {}, "hello from child"),
        ("/sleep", {"seconds": 0}, 0.0),
    ],
)
def test_what_a_handler_returns_is_the_answer(house: House, path: str, body: Any, wanted: Any) -> None:
    assert post(house, path, body) == (200, wanted)


@pytest.mark.parametrize(
    ("path", "body", "status", "wanted"),
    [
        ("/refuse", {}, 429, {"error": "Too many requests"}),
        ("/fail", {}, 500, {"error": "it broke"}),
        ("/sleep", {"seconds": 30}, 504, {"error": "handler timeout after 2 seconds"}),
        ("/nothing", {}, 204, b""),
        ("/static/none", {}, 404, {"message": "Not Found"}),
    ],
)
def test_faults_have_the_statuses_and_bodies_of_the_vendor(
    house: House, path: str, body: Any, status: int, wanted: Any
) -> None:
    assert post(house, path, body) == (status, wanted)


def test_a_wrong_body_is_refused_and_names_the_field(house: House) -> None:
    status, answer = post(house, "/add", {"x": "many"})
    assert (status, answer["detail"][0]["loc"]) == (422, ["body", "x"])
    assert post(house, "/add", {})[0] == post(house, "/add", b"{")[0] == 422


def test_state_lives_in_the_photon_and_a_body_may_be_left_out_where_nothing_is_asked(house: House) -> None:
    first = post(house, "/add", {"x": 0})[1]
    assert post(house, "/add", {"x": 2, "times": 3}) == (200, first + 6)
    assert house.ask("POST", "/nothing")[0] == 204


def test_get_handlers_read_path_and_query(house: House) -> None:
    assert house.ask("GET", "/by/ada")[1] == {"name": "ada"}
    assert house.ask("GET", "/by/ada?loud=true")[1] == {"name": "ADA"}


def test_calls_that_come_together_are_one_batch(house: House) -> None:
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda x: post(house, "/batch", {"x": x}), range(3)))
    assert answers == [(200, 30), (200, 31), (200, 32)]
    assert post(house, "/batch", {"x": 1}) == (200, 11)


def test_as_many_plain_handlers_run_at_a_time_as_the_class_says(house: House) -> None:
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: post(house, "/together"), range(2))) == [(200, 2)] * 2


def test_work_for_a_client_that_leaves_is_cancelled(house: House) -> None:
    line = HTTPConnection(*house.address, timeout=10)
    line.request("POST", "/wait", b"{}", {"content-type": "application/json"})
    wait_until(lambda: house.ask("GET", "/left")[1] == ["began"], "the handler runs")
    line.sock.close()
    wait_until(lambda: house.ask("GET", "/left")[1] == ["began", "left"], "the handler was cancelled")
    wait_until(lambda: "handle_client_disconnected" in house.log(), "the log tells")


def test_forms_reach_handlers_with_raw_arguments(house: House) -> None:
    parts = "".join(
        f'--b\r\ncontent-disposition: form-data; name="files"; filename="{name}"\r\n\r\nx\r\n' for name in ("a", "b")
    )
    body = f"{parts}--b--\r\n".encode()
    assert post(house, "/names", body, content_type="multipart/form-data; boundary=b") == (200, ["a", "b"])


def test_pickled_objects_travel_as_older_programs_have_them(house: House) -> None:
    content = base64.b64encode(zlib.compress(pickle.dumps([1, 2]))).decode()
    status, answer = post(house, "/pickled", {"given": {"type": "lepton_pickled", "content": content}})
    assert (status, answer["type"]) == (200, "lepton_pickled")
    assert pickle.loads(zlib.decompress(base64.b64decode(answer["content"]))) == [2, 1]


def test_mounts_answer_under_their_paths(house: House) -> None:
    assert house.ask("GET", "/sub/items/3")[1] == {"id": 3}
    assert house.ask("GET", "/sub/items/30")[0] == 404
    assert b"class Everything" in house.ask("GET", "/code/photons.py")[1]
    for path in ("/code/none.py", "/sub/none"):  # as the vendor has it
        status, _, headers = house.ask("GET", path)
        assert (status, headers["location"]) == (307, "/ledoc")
    assert house.ask("GET", "/wsgi/a/b")[1] == b"/a/b"


def test_the_document_names_bodies_and_answers_as_the_vendor_does(house: House) -> None:
    spec = house.ask("GET", "/openapi.json")[1]
    add = spec["paths"]["/add"]["post"]
    content = add["requestBody"]["content"]["application/json"]
    assert content == {"schema": {"$ref": "#/components/schemas/Everything_addPostInput"}, "example": {"x": 2}}
    assert (add["description"], add["operationId"], add["summary"]) == ("Add to the total.", "add_add_post", "Add")
    assert "Everything_addPostOutput" in spec["components"]["schemas"]
    assert (spec["info"]["title"], spec["info"]["description"]) == ("everything", "All kinds of handlers.")
    assert {"/sub/items/{id}", "/child/greet", "/by/{name}"} < spec["paths"].keys()
    assert "/hidden" not in spec["paths"]


def test_pages_of_the_system_are_there_and_unknown_ones_lead_to_the_guide(house: House) -> None:
    assert house.ask("GET", "/healthz")[:2] == house.ask("GET", "/livez")[:2] == (200, {"status": "ok"})
    assert house.ask("GET", "/queue-length")[:2] == (200, 0)
    assert house.ask("GET", "/docs")[0] == house.ask("GET", "/redoc")[0] == house.ask("GET", "/ledoc")[0] == 200
    for method in ("GET", "POST"):
        status, _, headers = house.ask(method, "/no/such/page")
        assert (status, headers["location"]) == (307, "/ledoc")


def test_metrics_are_counted_by_handler_method_and_status(house: House) -> None:
    post(house, "/refuse")
    house.ask("GET", "/sub/items/3")
    house.ask("GET", "/by/ada")
    text = house.ask("GET", "/metrics")[1].decode()
    assert 'http_requests_total{handler="/refuse",method="POST",status="4xx"}' in text
    assert 'http_requests_total{handler="/sub/items/{id}",method="GET",status="2xx"}' in text
    assert 'http_requests_total{handler="/by/{name}",method="GET",status="2xx"}' in text
    for bound in ("0.01", "0.78", "1.1", "2.3", "+Inf"):
        assert f'http_request_duration_seconds_bucket{{handler="/refuse",le="{bound}",method="POST"}}' in text
    assert len(text) < 3000 * text.count("http_request_duration_seconds_count"), "it is not large"
    assert b"lepton_workers_ready 1" in house.ask("GET", "/lepton/metrics")[1]


def test_several_replicas_tell_their_numbers_together() -> None:
    with open_service("photon:photons.py:Everything", workers=2) as house:
        ready = b"lepton_workers_ready 2"
        wait_until(lambda: ready in house.ask("GET", "/lepton/metrics")[1], "both are there", 30)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: post(house, "/add", {"x": 1}), range(60)))
        sample = re.compile(r'http_requests_total\{handler="/add",method="POST",status="2xx",replica="([12])"\} (.+)')
        for _ in range(6):  # whichever replica is asked
            text = house.ask("GET", "/metrics")[1].decode()
            counts = {replica: float(count) for replica, count in sample.findall(text)}
            assert counts.keys() == {"1", "2"}
            assert sum(counts.values()) == 60
            assert text.count("# TYPE http_requests_total counter") == 1
        assert house.ask("GET", "/queue-length")[1] == 0
        house.processes["2"].kill()
        wait_until(lambda: 'replica="2"' not in house.ask("GET", "/metrics")[1].decode(), "the dead is left out", 30)
        assert (
            'http_requests_total{handler="/add",method="POST",status="2xx"}' in house.ask("GET", "/metrics")[1].decode()
        )


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/ledoc"])
def test_a_page_loads_nothing_from_elsewhere_and_may_send_what_it_shows(house: House, path: str) -> None:
    text = house.ask("GET", path)[1].decode()
    assert not re.search(r"""(src|href|url|import|from)\s*[=(]?\s*["']?(https?:)?//""", text)
    spec = json.loads(re.search(r'<script type="application/json" id="spec">(.*?)</script>', text)[1])  # type: ignore[index]
    assert spec["paths"]["/add"]["post"]["requestBody"]["content"]["application/json"]["example"] == {"x": 2}
    assert "multipart/form-data" in spec["paths"]["/names"]["post"]["requestBody"]["content"]


def test_any_origin_may_ask(house: House) -> None:
    headers = house.ask("POST", "/add", b'{"x": 0}', content_type="application/json", origin="https://a.b")[2]
    assert headers["access-control-allow-origin"] in ("*", "https://a.b")  # as starlette has it
    asked = {"origin": "https://a.b", "access_control_request_method": "POST"}
    assert house.ask("OPTIONS", "/add", **asked)[0] == 200


def test_a_token_of_the_environment_guards_everything() -> None:
    with open_service("photon:photons.py:Everything", env={"LEPTON_LOCAL_DEPLOYMENT_TOKEN": "secret"}) as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is ready", 30)
        for path in ("/", "/healthz", "/docs", "/metrics"):
            assert house.ask("GET", path)[:2] == (403, {"detail": "Invalid or expired token"})
        assert post(house, "/add", {"x": 1}, authorization="Bearer wrong")[0] == 403
        assert post(house, "/add", {"x": 1}, authorization="Bearer secret") == (200, 1)
        assert house.ask("GET", "/healthz", authorization="Bearer secret")[0] == 200


def test_a_photon_may_answer_for_its_own_health() -> None:
    with open_service("photon:photons.py:Healthy") as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is ready", 30)
        assert house.ask("GET", "/healthz")[:2] == (200, {"status": "customized"})


def test_a_worker_takes_from_its_queue() -> None:
    with open_service("photon:photons.py:Tasks") as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is ready", 30)
        status, id = post(house, "/task", {"x": 21})
        assert status == 200

        def done() -> Mapping[str, Any] | None:
            found = house.ask("GET", f"/task?task_id={id}")[1]
            return found if found["status"] == "SUCCESS" else None

        assert wait_until(done, "it is done")["result"] == 42
        assert house.ask("GET", "/task?task_id=none")[0] == 404


def test_a_file_of_the_vendors_kind_is_loaded_in_the_replica_only(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(LINES)
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    said = make_photon(tmp_path)
    assert said.returncode == 0, said.stderr
    (tmp_path / "lines.py").unlink()
    (tmp_path / "words.txt").unlink()
    with open_service("photon:lines.photon", code=tmp_path) as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is ready", 30)
        assert post(house, "/line", {"n": 1}) == (200, "two")


LINES = """
from leptonai.photon import Photon


class Lines(Photon):
    extra_files = {"a/b/words.txt": "words.txt"}

    def init(self):
        with open("a/b/words.txt") as file:
            self.lines = file.read().split()

    @Photon.handler
    def line(self, n: int) -> str:
        return self.lines[n]
"""


def make_photon(folder: Path) -> Any:
    env = {**os.environ, "LEPTON_CACHE_DIR": str(folder / "cache")}
    words = ["-m", "lepton.cli.photon", "photon", "create", "-n", "lines", "-m", "lines.py"]
    said = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    (folder / "cache" / "lines.photon").rename(folder / "lines.photon")
    return said


def test_extra_files_are_where_the_photon_looks_for_them(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(LINES)
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    with open_service("photon:lines.py", code=tmp_path) as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is ready", 30)
        assert post(house, "/line", {"n": 0}) == (200, "one")
    assert sorted(each.name for each in tmp_path.iterdir() if each.name != "__pycache__") == ["lines.py", "words.txt"]
