"""What comes goes back."""

from typing import Any

from lepton.serve import Service, handler


class Echo(Service):
    """The cost of serving alone."""

    @handler("/predict")
    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Give back what came."""
        return body
