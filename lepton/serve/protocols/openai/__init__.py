"""The OpenAI API of an endpoint: models, completions, chat and embeddings, over any `llm.runtime.Model`."""
