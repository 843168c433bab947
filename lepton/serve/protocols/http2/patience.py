"""What a client may send that brings no request any further, or costs much beside what it brings. Pure."""

from lepton.serve.protocols.http2.wire import Code, WireError

MAX_IDLE_FRAMES = 10_000
"""Frames in a row that bring no request any further."""
MANY_FRAMES, TINY_BYTES = 256 << 10, 16
"""Whoever sends data in more frames than that must send so many bytes in each, on average."""
MAX_RESETS = 1000
"""Streams that a client opens only to drop them, less those that it lets be answered."""


class Patience:
    """That with one client."""

    def __init__(self) -> None:
        self._idle_frames = 0
        self._data_frames = self._data_bytes = 0
        self._resets = 0

    def idle(self) -> None:
        """A frame brings nothing.

        Raises:
            WireError: it is one too many.
        """
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES:
            raise WireError(Code.ENHANCE_YOUR_CALM, "Too many frames bring no request any further")

    def data(self, size: int, *, is_last: bool) -> None:
        """A frame brings so many bytes of a request.

        Raises:
            WireError: that is too little, and was so too often.
        """
        self._data_frames += 1
        self._data_bytes += size
        if size:
            self._idle_frames = 0
        elif not is_last:
            self.idle()
        if self._data_frames > MANY_FRAMES and self._data_bytes < self._data_frames * TINY_BYTES:
            raise WireError(Code.ENHANCE_YOUR_CALM, "The data come in too many tiny frames")

    def reset(self) -> None:
        """A stream is dropped.

        Raises:
            WireError: it is one too many.
        """
        self._resets += 1
        if self._resets > MAX_RESETS:
            raise WireError(Code.ENHANCE_YOUR_CALM, "Too many streams are dropped")

    def answered(self) -> None:
        """A stream was answered."""
        self._resets = max(0, self._resets - 1)
