"""What a replica counts of its models, and how the counts of several become one."""

import asyncio
import json
from pathlib import Path

import pytest

from lepton.core.errors import NotFoundError
from lepton.serve.protocols.inference.statistics import Tally, dump, read_path, summed
from lepton.serve.siblings import Siblings


def tally(rows: int, requests: int, fails: int = 0) -> Tally:
    found = Tally()
    found.computed(rows * requests, 70)
    for _ in range(requests):
        found.answered(rows, 10, 70, 5)
    for _ in range(fails):
        found.failed(3)
    return found


def test_counts_of_replicas_are_added() -> None:
    one, other = tally(2, 3, fails=1), tally(2, 1)
    found = summed([dump({"m": one, "old": one}), dump({"m": other}), b"", b"{}"], ["m", "new"])
    assert found.keys() == {"m", "new"}
    told = found["m"].told("m", "1")
    assert (told["inference_count"], told["execution_count"]) == (8, 2)
    assert told["inference_stats"]["success"] == {"count": 4, "ns": 340}
    assert told["inference_stats"]["fail"] == {"count": 1, "ns": 3}
    assert told["inference_stats"]["compute_infer"] == {"count": 4, "ns": 280}
    assert [one["batch_size"] for one in told["batch_stats"]] == [2, 6]
    assert told["last_inference"] == max(one.last_ns, other.last_ns) // 1_000_000 > 0
    assert found["new"].told("new", "1")["inference_count"] == 0


def test_requests_that_are_computed_together_are_counted_each() -> None:
    found = Tally()
    found.together([1, 4, 2], [{}, {}, ValueError()], 9)
    assert (found.requests, found.rows, found.infer_ns, found.fails, found.fail_ns) == (2, 5, 18, 1, 9)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v2/models/stats", ("", "")),
        ("/v2/models/a%20b/stats", ("a b", "")),
        ("/v2/models/stats/stats", ("stats", "")),
        ("/v2/models/a/versions/3/stats", ("a", "3")),
    ],
)
def test_a_path_names_a_model(path: str, wanted: tuple[str, str]) -> None:
    assert read_path(path) == wanted


def test_a_path_that_names_none_is_refused() -> None:
    with pytest.raises(NotFoundError):
        read_path("/v2/models/a/b/c/stats")


def test_replicas_ask_each_other_and_leave_out_who_is_gone(tmp_path: Path) -> None:
    async def course() -> None:
        made = [Siblings({"what": lambda n=n: n.encode() * 100_000}, tmp_path, n) for n in "abc"]  # type: ignore[misc]
        for each in made:
            await each.start()
        found = await made[0].ask("what")
        assert {name: (text[:1].decode(), len(text)) for name, text in found.items()} == {
            name: (name, 100_000) for name in "abc"
        }
        await made[1].close()
        (tmp_path / "replica-d.ask").touch()  # of one that died
        assert list(await made[0].ask("what")) == ["a", "c"]
        with pytest.raises(KeyError):
            await made[0].ask("nothing")
        again = Siblings({"what": lambda: json.dumps("new").encode()}, tmp_path, "c")
        await again.start()  # in the place of one whose socket is still there
        await made[2].close()  # its predecessor ends late, and leaves the place as it is
        assert (await made[0].ask("what"))["c"] == b'"new"'
        for each in (made[0], again):
            await each.close()
        assert [place.name for place in tmp_path.iterdir()] == ["replica-d.ask"]
        assert await Siblings({"what": lambda: b"x"}).ask("what") == {"": b"x"}

    asyncio.run(course())


def test_a_place_where_nobody_can_listen_is_told_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def course() -> None:
        lost = Siblings({"what": lambda: b"x"}, tmp_path / "none", "a")
        await lost.start()
        assert await lost.ask("what") == {"a": b"x"}
        await lost.close()

    asyncio.run(course())
    assert "cannot ask this one" in capsys.readouterr().err
