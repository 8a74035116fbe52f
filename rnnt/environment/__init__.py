"""What is installed. Nothing here imports what it looks for, unless it is asked whether that loads."""
