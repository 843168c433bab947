"""The smallest photon, for trying things: POST /echo answers its input."""

from lepton.serve.photon.marks import handler
from lepton.serve.photon.photon import Photon


class Echo(Photon):
    """Answers what it is told."""

    @handler
    def echo(self, input: str) -> str:
        """Echo the input string."""
        return input


Echo.__module__ = "leptonai.photon.prebuilt.echo"
