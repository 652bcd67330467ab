"""The public APIs as their callers use them: clients, policies as code, one contact from end to end."""
