"""`/train`: a dataset becomes a model."""

from fastapi import APIRouter

from lepton.api.route import DoorRoute
from lepton.api.stations import add_station
from lepton.train.plan import plan_train
from lepton.train.spec import TrainSpec

router = APIRouter(prefix="/train", tags=["train"], route_class=DoorRoute)
add_station(router, "", TrainSpec, plan_train, {"dataset": ["dataset"]})
