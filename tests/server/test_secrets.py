"""A secret goes in and only its job sees it: not in an answer, event, log, database file or on the disk."""

from pathlib import Path

import pytest

from tests.server.house import API, House, error_of, open_house, wait_until

VALUE = "correct-horse-battery-staple-0815"


def holding(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold the text."""
    needle = text.encode()
    return [str(path) for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def test_no_answer_shows_a_secret(house: House) -> None:
    made = house.http.put(f"{API}/security/secrets/s", json={"value": VALUE})
    assert made.json()["spec"] == {} and made.headers["etag"]
    job = house.submit(secrets={"S": "s"}, course={"seconds": 1e9})["id"]
    house.wait(job, "running")
    paths = ["/security/secrets", "/events?limit=1000", f"/jobs/{job}", f"/jobs/{job}/events", f"/jobs/{job}/logs"]
    for path in paths:
        text = house.http.get(API + path).text
        assert VALUE not in text and "sealed" not in text
    error_of(house.http.put(f"{API}/security/secrets/s", json={"value": VALUE, "more": VALUE}), 422)
    assert VALUE not in house.http.put(f"{API}/security/secrets/s", json={"value": [VALUE]}).text
    assert holding(house.config.data, VALUE) == []


def test_a_secret_is_changed_with_its_etag_and_gone_when_deleted(house: House) -> None:
    path = f"{API}/security/secrets/s"
    error_of(house.http.put(path, json={"value": "x"}, headers={"if-match": '"1"'}), 404)
    tag = house.http.put(path, json={"value": "x"}).headers["etag"]
    newer = house.http.put(path, json={"value": "y"}, headers={"if-match": tag}).headers["etag"]
    error_of(house.http.put(path, json={"value": "z"}, headers={"if-match": tag}), 412)
    error_of(house.http.delete(path, headers={"if-match": tag}), 412)
    assert house.http.delete(path, headers={"if-match": newer}).status_code == 204
    error_of(house.http.delete(path), 404)
    assert house.ask("GET", "/security/secrets")["items"] == []


def test_tokens_lie_on_the_disk_as_hashes_only(house: House) -> None:
    made = house.ask("POST", "/security/users/admin/tokens", {"label": "l"}, status=201)["token"]
    assert made not in house.http.get(f"{API}/security/users/admin/tokens").text
    assert holding(house.config.data, made) == []
    assert holding(house.config.data, house.token) == [str(house.config.data / "token")]


def test_a_running_job_has_its_secret_and_the_disk_has_not(tmp_path: Path) -> None:
    with open_house(tmp_path / "data", is_real=True) as house:
        house.ask("PUT", "/security/secrets/s", {"value": VALUE})
        command = ["sh", "-c", 'test -n "$S" && echo it has ${#S} letters && sleep 60']
        wait_until(lambda: house.ask("GET", "/pool/nodes")["items"], "the node is there")
        job = house.submit(command=command, secrets={"S": "s"}, cpus=0.1)["id"]
        wait_until(lambda: f"{len(VALUE)} letters" in house.http.get(f"{API}/jobs/{job}/logs").text, "it has it", 20)
        assert holding(tmp_path / "data", VALUE) == []
        house.ask("POST", f"/jobs/{job}/stop", {"grace_s": 0})
        house.wait(job, "cancelled")
        assert holding(tmp_path / "data", VALUE) == []


@pytest.mark.parametrize("mode_of", ["key", "token"])
def test_key_and_token_are_the_owners_alone(house: House, mode_of: str) -> None:
    assert (house.config.data / mode_of).stat().st_mode & 0o777 == 0o600
    assert house.config.data.stat().st_mode & 0o777 == 0o700
