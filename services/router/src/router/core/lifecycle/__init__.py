"""What happens to contacts, agents and queues, and what follows from it."""
