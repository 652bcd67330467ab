"""Pure functions of values: whom a contact needs, and whether an agent has room for it."""
