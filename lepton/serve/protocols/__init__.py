"""Protocols that people's clients speak already: the OpenAI API and the Open Inference Protocol."""
