"""`porchlight simulate` and `whatif`: files of scenarios, cases and calls, given to the simulator, and what came of them."""
