"""What is done once before or beside the services: databases, rights, migrations, keys, topics, Kafka written anew."""
