"""What comes goes back."""

from typing import Any

from lepton.serve import Body, Service, handler


class Echo(Service):
    """The cost of serving alone."""

    @handler("/predict")
    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Give back what came."""
        return body

    @handler("/bytes")
    def bytes(self, body: Body[bytes]) -> bytes:
        """The same with bytes that nobody reads."""
        return body
