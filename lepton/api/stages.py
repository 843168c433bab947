"""The stations of the walk, in their order: what each takes, and the job it answers with."""

from fastapi import APIRouter

from lepton.api import data, train

router = APIRouter()
for station in (data, train):
    router.include_router(station.router)
