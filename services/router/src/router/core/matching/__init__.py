"""Who gets whom: the agents that a step, a burst or an order lets be asked, and which of them is."""
