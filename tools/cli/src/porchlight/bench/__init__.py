"""What `porchlight bench` and `bench-core` measure: the whole platform beside a floor, and the routing core alone."""
