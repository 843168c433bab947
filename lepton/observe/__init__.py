"""Station 5: what an endpoint was asked is compared with what its model was trained on."""
