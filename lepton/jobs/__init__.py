"""How work lives: states, gangs, retries and leases. Pure."""
