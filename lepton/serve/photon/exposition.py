"""The metrics of several replicas as one text that Prometheus reads: each sample says whose it is. Pure."""

import re
from collections.abc import Mapping

SAMPLE = re.compile(r"([^{\s]+)(?:\{(.*)\})? +(\S.*)")
LABEL = "replica"


def joined(texts: Mapping[str, str]) -> str:
    """Replica -> its metrics, as one text; of a single replica as they are.

    A counter of a replica that has been replaced begins anew, as those of a process do that was started again: sums
    over replicas would fall instead, and be read as something that has happened.
    """
    if len(texts) == 1:
        return next(iter(texts.values()))
    families: dict[str, tuple[dict[str, str], list[str]]] = {}
    for replica, text in texts.items():
        name = ""
        for line in text.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                _, kind, name, *_ = line.split(" ", 3)
                families.setdefault(name, ({}, []))[0].setdefault(kind, line)
            elif line and not line.startswith("#"):
                families.setdefault(name, ({}, []))[1].append(labelled(line, replica))
    return "".join(f"{line}\n" for heads, samples in families.values() for line in (*heads.values(), *samples))


def labelled(sample: str, replica: str) -> str:
    """A sample that says which replica it is of; one that has such a label already keeps it beside."""
    match = SAMPLE.fullmatch(sample)
    if match is None:
        return sample
    name, labels, value = match.groups(default="")
    own = f"lepton_{LABEL}" if re.search(rf"(^|,){LABEL}=", labels) else LABEL
    return f'{name}{{{labels.rstrip(",")}{"," if labels else ""}{own}="{replica}"}} {value}'
