"""`/optimize`: a model becomes a faster one that is no worse."""

from fastapi import APIRouter

from lepton.api.route import DoorRoute
from lepton.api.stations import add_station
from lepton.optimize.plan import plan_optimize
from lepton.optimize.spec import OptimizeSpec

router = APIRouter(prefix="/optimize", tags=["optimize"], route_class=DoorRoute)
add_station(router, "", OptimizeSpec, plan_optimize, {"model": ["model"], "dataset": ["dataset"]})
