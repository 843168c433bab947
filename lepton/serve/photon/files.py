"""Files as arguments of handlers: bytes, open files, URLs or base64 on the way in, base64 on the way out."""

import base64
import os
import re
import tempfile
import warnings
from io import BytesIO
from typing import IO, Any, Self
from urllib.parse import urlparse

import httpx
from pydantic import BaseModel, GetCoreSchemaHandler, field_serializer, field_validator
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from lepton.serve.photon.config import _to_bool as to_bool

__all__ = ["File", "FileParam", "get_file_content", "is_valid_url", "to_bool"]
DATA = re.compile(r"data:.*?;base64,(.*)", re.DOTALL)
BINARY = "data:application/octet-stream;base64,"
ENCODED = "encoded:"
"""Before the base64 of a FileParam."""
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def is_valid_url(text: Any) -> bool:
    """Whether it has a scheme and a host."""
    if not isinstance(text, str):
        return False
    parsed = urlparse(text)
    return bool(parsed.scheme and parsed.netloc)


def download(url: str) -> bytes:
    """What a URL answers.

    Raises:
        ValueError: it answers nothing, or an error.
    """
    try:
        return httpx.get(url, follow_redirects=True, timeout=60).raise_for_status().content
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        raise ValueError(f"Failed to download content from url: {url}") from fault


def temporary(content: bytes, *, delete: bool = True) -> Any:
    """An open temporary file with that content."""
    file = tempfile.NamedTemporaryFile(mode="w+b", delete=delete)  # noqa: SIM115  the caller closes it
    file.write(content)
    file.flush()
    file.seek(0)
    return file


def only_content(told: Any) -> Any:
    """What a JSON object says of a file's content; anything else as it is.

    Raises:
        ValueError: it says nothing of it.
    """
    if isinstance(told, dict) and "content" not in told:
        raise ValueError('a file is told as {"content": ...}')
    return {"content": told["content"]} if isinstance(told, dict) else told


class Told:
    """What JSON tells as `{"content": ...}`, whatever else it tells."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Before its `__init__` is called, which takes nothing else."""
        return no_info_before_validator_function(only_content, handler(source))


class File(Told, BaseModel):
    """A file: bytes, an open file, a URL, or base64 as `data:...;base64,...`."""

    content: bytes | str

    def __init__(self, content: Any) -> None:
        if isinstance(content, File):
            content = content.content
        if hasattr(content, "read"):
            content = content.read()
        super().__init__(content=content)

    def __repr__(self) -> str:
        return f"File(id={id(self)}) object"

    __str__ = __repr__

    @field_validator("content", mode="before")
    @classmethod
    def validate_content(cls, content: Any) -> Any:
        """Accept what can be turned into bytes."""
        if isinstance(content, bytes):
            return content
        if not isinstance(content, str):
            raise ValueError(f"content is bytes, an open file, a URL or base64, not a {type(content).__name__}")
        if content.startswith(ENCODED):
            return BINARY + content.removeprefix(ENCODED)
        if is_valid_url(content) or DATA.match(content):
            return content
        raise ValueError("content that is a string is a URL, or begins with data:...;base64,")

    @field_serializer("content")
    def _encode(self, content: Any) -> str:
        return self.encode(content)

    @staticmethod
    def encode(content: bytes | str) -> str:
        """As it travels."""
        return BINARY + base64.b64encode(content).decode() if isinstance(content, bytes) else content

    def get_content(self) -> bytes:
        """The bytes; a URL is read once.

        Raises:
            ValueError: it cannot be read.
        """
        if isinstance(self.content, str):
            match = DATA.match(self.content)
            self.content = base64.b64decode(match.group(1)) if match else download(self.content)
        return self.content

    def get_bytesio(self) -> IO[bytes]:
        """The bytes as a file in memory."""
        return BytesIO(self.get_content())

    def get_temp_file(self, delete: bool = True) -> Any:
        """The bytes in a temporary file, open; it is gone once closed, unless `delete` is False."""
        return temporary(self.get_content(), delete=delete)


class FileParam(Told, BaseModel):
    """A file, as older programs have it."""

    content: bytes

    def __init__(self, content: Any) -> None:
        warnings.warn("FileParam is old: use leptonai.photon.types.File", DeprecationWarning, stacklevel=2)
        super().__init__(content=content)

    def __repr__(self) -> str:
        return f"FileParam(id={id(self)}) {len(self.content)} Bytes"

    __str__ = __repr__

    @property
    def file(self) -> IO[bytes]:
        """The bytes as a file in memory."""
        return BytesIO(self.content)

    @field_validator("content", mode="before")
    @classmethod
    def validate_content(cls, content: Any) -> Any:
        """Accept bytes, an open file, and base64 behind `encoded:`."""
        if hasattr(content, "read"):
            return content.read()
        if isinstance(content, str):
            return base64.b64decode(content.removeprefix(ENCODED)) if content.startswith(ENCODED) else content.encode()
        return content

    @field_serializer("content")
    def _encode(self, content: Any) -> str:
        return self.encode(content)

    @staticmethod
    def encode(content: bytes) -> str:
        """As it travels."""
        return ENCODED + base64.b64encode(content).decode()

    @classmethod
    def of(cls, content: bytes) -> Self:
        """One without the warning."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return cls(content)


def get_file_content(src: Any, allow_local_file: bool = False, return_file: bool = False) -> Any:
    """The bytes of a File, FileParam, URL, base64 or bytes; and of a file's path, if that is allowed.

    Args:
        return_file: give an open file instead.

    Raises:
        TypeError: it is something else.
        ValueError: it is a string that is none of these.
    """
    content = _content(src, allow_local_file)
    return temporary(content) if return_file else content


def _content(src: Any, allow_local_file: bool) -> bytes:
    if isinstance(src, File):
        return src.get_content()
    if isinstance(src, FileParam):
        return src.content
    if isinstance(src, bytes):
        return src
    if not isinstance(src, str):
        raise TypeError(f"src is a File, a FileParam, a string or bytes, not a {type(src).__name__}")
    if is_valid_url(src):
        return download(src)
    if allow_local_file and os.path.exists(src):
        with open(src, "rb") as file:
            return file.read()
    match = DATA.match(src)
    if match or (len(src) % 4 == 0 and BASE64.fullmatch(src)):
        return base64.b64decode(match.group(1) if match else src)
    raise ValueError(f"Failed to get file content from source: {src[:100]}")


File.__module__ = "leptonai.photon.types.file"
FileParam.__module__ = "leptonai.photon.types.fileparam"
