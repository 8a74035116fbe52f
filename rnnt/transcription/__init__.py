"""Transcription: audio files of any length to text with times, and the model directories that hold all it needs."""
