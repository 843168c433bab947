"""Who may do what: identity, policy and keys. Pure."""
