"""`porchlight ops`, `keys` and `token`: looking after a platform that runs."""
