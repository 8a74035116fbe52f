"""The corpus page of stage 6: what is in a corpus, and what of it to listen to."""
