"""A recorded or generated day of a call centre, played through the public APIs and checked."""
