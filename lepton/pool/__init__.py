"""Where work may run: nodes, order and placement. Pure."""
