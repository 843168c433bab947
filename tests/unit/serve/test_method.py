"""Which handlers a class may have."""

import pytest

from lepton.core.errors import ConfigError
from lepton.serve.method import handlers_of
from lepton.serve.service import Service, handler


@pytest.mark.parametrize("name", ["close", "init", "models", "mounts", "is_healthy", "background"])
def test_a_handler_cannot_take_the_place_of_what_the_platform_calls(name: str) -> None:
    def answer(self: Service, a: int) -> int:
        return a

    made = type("Made", (Service,), {name: handler(f"/{name}")(answer)})
    with pytest.raises(ConfigError, match=rf"Service\.{name}\b") as caught:
        list(handlers_of(made()))
    assert f'@handler("/{name}")' in caught.value.fix
    free = type("Free", (Service,), {"other": handler(f"/{name}")(answer)})
    assert [each.wish.path for each in handlers_of(free())] == [f"/{name}"]
