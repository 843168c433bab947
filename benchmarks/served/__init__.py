"""Services for `benchmarks/serving.py`; each calls the shared work that every peer calls."""
