"""What trials of the pool's ways have said (`pool.hindsight`), as the database has it: every server goes by that."""

import json
from dataclasses import asdict

from lepton.pool.hindsight import Verdict
from lepton.pool.policy import Way
from lepton.store import facts
from lepton.store.database import Tx

FACT = "way"


def text(tx: Tx) -> str:
    """What is stored; empty: nothing yet."""
    return facts.get(tx, FACT)


def put(tx: Tx, verdict: Verdict) -> None:
    """Store what trials have said."""
    way = None if verdict.way is None else verdict.way._asdict()
    facts.put(tx, FACT, json.dumps({**asdict(verdict), "way": way}))


def verdict_of(text: str) -> Verdict:
    """What `put` stored."""
    told = json.loads(text)
    way = None if told["way"] is None else Way(**told["way"])
    return Verdict(**{**told, "way": way, "said": tuple(told["said"])})
