"""What the owner of a data directory does with commands of the vault is in the audit trail: who, what and where."""

import os
import pwd
from pathlib import Path

from tests.server.house import open_house
from tests.server.test_schedules import run

WHO = f"owner:{pwd.getpwuid(os.getuid()).pw_name}"


def test_each_act_of_the_owner_is_an_event_with_who_what_and_where(tmp_path: Path) -> None:
    data, safe, out = tmp_path / "data", tmp_path / "safe", tmp_path / "out"
    with open_house(data) as house:
        for workspace in ("lab", "red"):
            house.ask("POST", "/security/workspaces", {"name": workspace}, status=201)
            house.http.put(f"/api/v1/vault/files/x?workspace={workspace}", content=b"secret")
        begun = house.ask("GET", "/events?scope=platform&limit=1000")["items"][-1]["seq"]
    run("recovery-key", "--out", tmp_path / "one", "--data", data)
    run("recovery-key", "--another", "--out", tmp_path / "two", "--data", data)
    run("schedule", "--to", safe, "--every", "6h", "--keep-last", "2", "--data", data)
    run("backup", "--to", safe, "--data", data)
    run("backup", "--to", safe, "--data", data)
    run("restore", "--from", safe, "--only", "lab", "--into", out, "--dry-run", "--data", data)
    run("restore", "--from", safe, "--only", "lab", "--into", out, "--data", data)
    run("unschedule", "--to", safe, "--data", data)
    run("forget", "--at", safe, "--backup", "1", "--dry-run", "--data", data)
    run("forget", "--at", safe, "--backup", "1", "--data", data)
    run("repair", "--from", safe, "--data", data)
    run("repair", "--at", safe, "--data", data)
    run("rotate-key", "lab", "--data", data)
    run("rotate-key", "--all", "--data", data)
    run("erase", "red", "--certificate", tmp_path / "erased.json", "--data", data)
    run("storage", "--move-to", tmp_path / "packs", "--data", data)
    run("storage", "--claim", "--data", data)
    run("rotate-root", "--data", data)
    told = {}
    with open_house(data) as house:
        for where in ("scope=platform", "workspace=lab", "workspace=red"):
            found = house.ask("GET", f"/events?{where}&after={begun}&limit=1000")["items"]
            told[where] = [event for event in found if event["actor"] == WHO]
    platform = [(event["verb"], event["why"]) for event in told["scope=platform"]]
    assert [verb for verb, _ in platform] == [
        "recovery key made",
        "recovery key replaced",
        "backups scheduled",
        *["backed up"] * 2,
        "backups unscheduled",
        "backups let go",
        *["repaired"] * 2,
        "rotated",
        "storage moved",
        "storage claimed",
        "rotated",
    ]
    places = [why for verb, why in platform if verb.startswith(("back", "repair"))]
    assert all(str(safe) in why for why in places) and "backup 2" in places[2] and "backups at" in places[-1]
    assert all(str(tmp_path / "packs") in why for verb, why in platform if verb.startswith("storage"))
    lab = [(event["verb"], event["why"]) for event in told["workspace=lab"]]
    assert [verb for verb, _ in lab] == ["restored", "rotated", "rotated"]
    assert all(part in lab[0][1] for part in ("1 file of backup 2", str(safe), str(out), ": lab"))
    assert [event["verb"] for event in told["workspace=red"]] == ["rotated", "erased"]
