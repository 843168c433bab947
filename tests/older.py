"""Make a database as old as it would be without the newest migrations."""

import re

from lepton.store.migrate import scripts


def since(number: int) -> list[str]:
    """Statements that take back the tables of all migrations from that number on, and that they were applied."""
    texts = [text for found, (_, text) in sorted(scripts().items()) if found >= number]
    tables = [table for text in texts for table in re.findall(r"CREATE TABLE (\w+)", text)]
    return [*(f"DROP TABLE {table}" for table in tables), f"DELETE FROM migrations WHERE number >= {number}"]
