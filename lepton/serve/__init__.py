"""Station 4: a model version becomes an endpoint: one front process and its workers."""
