"""What `from leptonai.photon import ...` gives."""

from fastapi import HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles

from lepton.serve.photon.batcher import batch
from lepton.serve.photon.files import File, FileParam, get_file_content
from lepton.serve.photon.huggingface import HuggingFacePhoton
from lepton.serve.photon.images import JPEGResponse, PNGResponse, WAVResponse, make_png_response
from lepton.serve.photon.marks import handler
from lepton.serve.photon.models import create, load, load_metadata, save
from lepton.serve.photon.photon import BasePhoton, Photon
from lepton.serve.photon.vllm import vLLMPhoton
from lepton.serve.photon.worker import Worker

__all__ = [
    "BasePhoton",
    "File",
    "FileParam",
    "FileResponse",
    "HTTPException",
    "HuggingFacePhoton",
    "JPEGResponse",
    "JSONResponse",
    "PNGResponse",
    "Photon",
    "RedirectResponse",
    "Request",
    "Response",
    "StaticFiles",
    "StreamingResponse",
    "WAVResponse",
    "Worker",
    "batch",
    "create",
    "get_file_content",
    "handler",
    "load",
    "load_metadata",
    "make_png_response",
    "save",
    "vLLMPhoton",
]
