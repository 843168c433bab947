"""Language models: one small interface, and the runtimes that stand behind it."""
