"""PostgreSQL, Kafka and the services as child processes of this machine, and whoever starts them again."""
