"""The stations of the walk, in their order: what each takes, and the job it answers with."""

from fastapi import APIRouter

from lepton.api import data

router = APIRouter()
router.include_router(data.router)
