"""The control plane: loops that turn wishes into launches."""
