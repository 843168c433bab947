"""`/data`: raw files become datasets, datasets become clean."""

from fastapi import APIRouter

from lepton.api.route import DoorRoute
from lepton.api.stations import add_station
from lepton.data.plan import plan_clean, plan_ingest
from lepton.data.spec import CleanSpec, IngestSpec

router = APIRouter(prefix="/data", tags=["data"], route_class=DoorRoute)
add_station(router, "/ingest", IngestSpec, plan_ingest, {"raw": ["raw"]})
add_station(router, "/clean", CleanSpec, plan_clean, {"dataset": ["dataset"]})
