"""Speech as it comes: features, encoder and search of many streams, chunk by chunk."""
