"""Pages of the documentation that are written from the code. For development only: no image has it."""
