"""The sets that a training goes over: by name, mixed, and in shards."""
