"""What people and monitoring see of a shard's memory: waits, traces and figures. Nothing here changes anything."""
