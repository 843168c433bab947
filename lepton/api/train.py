"""`/train`: a dataset becomes a model."""

from fastapi import APIRouter

from lepton.api.bodies import JsonRoute
from lepton.api.stations import add_station
from lepton.train.plan import plan_train
from lepton.train.spec import TrainSpec

router = APIRouter(prefix="/train", tags=["train"], route_class=JsonRoute)
add_station(router, "", TrainSpec, plan_train, {"dataset": ["dataset"]})
