"""What `lepton status` says of how many jobs there are."""

import pytest

from lepton.cli.server import COUNTED, _at_least


@pytest.mark.parametrize(("count", "said"), [(0, "0"), (COUNTED - 1, "999"), (COUNTED, "1000+")])
def test_a_count_that_may_be_cut_says_so(count: int, said: str) -> None:
    assert _at_least(count) == said
