"""Values: contacts, agents and queues, what happens to them, what is decided, and which decision may follow which."""
