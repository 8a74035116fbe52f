"""icefall's Zipformer checkpoints: read without executing anything, and written."""
