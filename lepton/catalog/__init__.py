"""What exists: names, versions and lineage. Pure."""
