"""The state of a shard and its indexes: where those who wait and those with room are found without a search."""
