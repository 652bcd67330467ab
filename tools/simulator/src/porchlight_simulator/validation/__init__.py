"""Whether the simulator is right: cases of queueing theory and of the literature with known answers, and the verdict on them."""
