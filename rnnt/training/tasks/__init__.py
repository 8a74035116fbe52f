"""What can be trained: the loop is the same for all of it."""
