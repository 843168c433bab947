"""Responses that are images or sound."""

from io import BytesIO
from typing import Any

from fastapi.responses import StreamingResponse


class PNGResponse(StreamingResponse):
    """A PNG image."""

    media_type = "image/png"


class JPEGResponse(StreamingResponse):
    """A JPEG image."""

    media_type = "image/jpeg"


class WAVResponse(StreamingResponse):
    """Sound as a WAV file."""

    media_type = "audio/wav"


def make_img_response(img: Any, format: str, ResponseType: type[StreamingResponse]) -> StreamingResponse:
    """A Pillow image as a response of the given type."""
    file = BytesIO()
    img.save(file, format=format)
    file.seek(0)
    return ResponseType(file)


def make_jpeg_response(img: Any) -> StreamingResponse:
    """A Pillow image as JPEG."""
    return make_img_response(img, "JPEG", JPEGResponse)


def make_png_response(img: Any) -> StreamingResponse:
    """A Pillow image as PNG."""
    return make_img_response(img, "PNG", PNGResponse)


for _kind in (PNGResponse, JPEGResponse, WAVResponse):
    _kind.__module__ = "leptonai.photon.types.responses"
