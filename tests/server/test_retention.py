"""Which versions a workspace keeps: set by its administrators, carried out once a day, told wherever one is missed."""

import json
import os

import pytest
from click.testing import CliRunner

from lepton.cli.main import cli
from lepton.core.errors import LetGoError
from tests.server.house import House, error_of
from tests.server.test_files import V, names, put, read

DAY_S = 86_400


def stored(house: House) -> int:
    return int(house.ask("GET", "/vault/quota")["stored_bytes"])


def days_pass(house: House, count: int) -> None:
    """Days, each with its turn."""
    pruning = house.pruning()
    for _ in range(count):
        house.clock.advance(DAY_S + 60)  # type: ignore[union-attr]
        pruning.turn()


@pytest.fixture
def versions(house: House) -> list[str]:
    """A file was changed every second day; another came with the second version and went with the third."""
    days_pass(house, 1)
    made = []
    for number in range(5):
        made.append(put(house.http, "a", os.urandom(60_000))["version"])
        if number == 1:
            put(house.http, "brief", os.urandom(60_000))
        if number == 2:
            house.http.delete(f"{V}/files/brief")
        days_pass(house, 2)
    return made


def test_what_a_rule_does_not_keep_is_let_go_of_and_its_bytes_too(house: House, versions: list[str]) -> None:
    before = stored(house)
    house.ask("PUT", "/vault/tags/v1", {"ref": versions[0]}, status=201)
    tried = house.ask("PUT", "/vault/retention", {"last": 2, "dry_run": True})
    assert tried["let_go"] == 4 == len(tried["versions"]) and tried["kept"] == 3 and tried["keep"]["last"] == 2
    assert house.ask("GET", "/vault/retention")["keep"]["last"] == 0
    days_pass(house, 3)
    assert stored(house) == before
    house.ask("PUT", "/vault/retention", {"last": 2})
    days_pass(house, 3)
    assert before - 190_000 < stored(house) < before - 170_000  # two versions of `a`, and `brief`
    assert house.ask("GET", "/vault/retention")["let_go"] == 0
    for kept in (versions[0], versions[3], versions[4], "v1", "main"):
        assert len(read(house.http, "a", ref=kept)) == 60_000
    log = house.ask("GET", "/vault/log")["items"]
    assert [bool(item["let_go"]) for item in log] == [False, False, True, True, True, True, False]
    changed = [item["version"] for item in house.ask("GET", "/vault/log?name=a")["items"]]
    assert changed == [versions[4], versions[3], versions[0]]
    (event,) = [each for each in house.ask("GET", "/events?limit=1000")["items"] if each["verb"] == "let go"]
    assert event["data"]["count"] == 4 and versions[1] in event["data"]["versions"]
    house.ask("PUT", "/vault/retention", {})
    days_pass(house, 2)  # what was let go of is no root again
    assert len(read(house.http, "a", ref="v1")) == 60_000


def test_whoever_misses_what_was_let_go_of_is_told_so(house: House, versions: list[str]) -> None:
    house.ask("PUT", "/vault/retention", {"last": 1})
    at = house.ask("GET", "/vault/log")["items"][-2]["at"]
    days_pass(house, 1)
    http, lost = house.http, versions[1]
    for answer in (
        http.get(f"{V}/files/a", params={"ref": lost}),
        http.get(f"{V}/files", params={"at": at}),
        http.get(f"{V}/diff", params={"base": lost}),
        http.post(f"{V}/archives", json={"names": ["a"], "ref": lost}),
        http.post(f"{V}/branches/main/rollback", json={"ref": lost}),
        http.put(f"{V}/tags/late", json={"ref": lost}),
        http.put(f"{V}/branches/late", json={"ref": lost}),
        http.post(f"{V}/undelete", json={"name": "brief"}),
        http.post(f"{V}/copies", json={"name": "a", "to": "b", "ref": lost}),
    ):
        assert "retention" in error_of(answer, 410, "let_go")["message"]
    assert [item["name"] for item in house.ask("GET", "/vault/branches")["items"]] == ["main"]
    assert [change["name"] for change in house.ask("GET", "/vault/diff")["items"]] == ["a"] == names(http)
    with house.sdk() as client, pytest.raises(LetGoError):
        client.vault.read("a", ref=lost)


def test_branches_that_parted_before_can_still_be_merged(house: House, versions: list[str]) -> None:
    house.ask("PUT", "/vault/branches/side", {"ref": versions[1]}, status=201)
    put(house.http, "of-side", b"1", branch="side")
    house.ask("PUT", "/vault/retention", {"last": 1})
    days_pass(house, 3)
    house.ask("POST", "/vault/merges", {"ref": "side"})
    assert names(house.http) == ["a", "of-side"]


def test_a_branch_that_comes_back_after_retention_can_be_merged(house: House, versions: list[str]) -> None:
    house.ask("PUT", "/vault/branches/side", {"ref": versions[1]}, status=201)
    put(house.http, "of-side", b"1", branch="side")
    assert house.http.delete(f"{V}/files/a", params={"branch": "side"}).status_code == 200
    put(house.http, "of-main", b"2")
    assert house.http.delete(f"{V}/branches/side").status_code == 204
    house.ask("PUT", "/vault/retention", {"last": 1})
    days_pass(house, 3)
    house.ask("POST", "/vault/branches/side/undelete")
    answer = house.http.post(f"{V}/merges", json={"ref": "side"})
    conflicts = error_of(answer, 409, "merge_conflict")["details"]["conflicts"]
    assert [(each["path"], each["kind"]) for each in conflicts] == [("a", "theirs_removed")], "as if it had never gone"
    house.ask("POST", "/vault/merges", {"ref": "side", "take": "theirs"})
    assert names(house.http) == ["of-main", "of-side"]


def test_only_administrators_of_a_workspace_set_its_rule(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    editor, admin = house.user("ed", lab="editor"), house.user("ann", lab="admin")
    url = f"{V}/retention?workspace=lab"
    error_of(editor.put(url, json={"last": 1}), 403, "forbidden")
    error_of(admin.put(url, json={"last": -1}), 422)
    nothing = {"last": 0, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0}
    assert admin.put(url, json={"daily": 7, "weekly": 4}).json()["keep"] == {**nothing, "daily": 7, "weekly": 4}
    assert editor.get(url).json()["keep"]["daily"] == 7
    assert admin.put(url, json={}).json()["keep"] == nothing == editor.get(url).json()["keep"]


def test_the_command_line_sets_a_rule_and_tries_one(house: House, versions: list[str]) -> None:
    runner = CliRunner(env={"LEPTON_URL": house.url, "LEPTON_TOKEN": house.token})

    def run(*words: str) -> str:
        done = runner.invoke(cli, ["vault", "retention", "lepton://default", *words])
        return str(done.exception) if done.exception else done.output

    tried = run("--keep-last", "2", "--dry-run")
    assert "kept would be last 2; 5 versions would be let go of" in tried and versions[1][:16] in tried
    assert "kept are all versions; 0 versions" in run()
    assert json.loads(run("--keep-last", "2", "--json"))["let_go"] == 5
    assert "kept are last 2" in run()
    assert "kept are all versions" in run("--keep-all")
    assert "not said which rule" in run("--dry-run") and "stands beside" in run("--keep-all", "--keep-last", "1")
