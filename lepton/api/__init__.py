"""The HTTP door: authenticate, authorise, validate, act, audit."""
