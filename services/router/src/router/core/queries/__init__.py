"""What can be asked of the state: how long a contact will wait, and why."""
