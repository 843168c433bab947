"""The stations of the walk, in their order."""

from fastapi import APIRouter

from lepton.api import data, observe, optimize, serve, train

router = APIRouter()
for station in (data, train, optimize, serve, observe):
    router.include_router(station.router)
