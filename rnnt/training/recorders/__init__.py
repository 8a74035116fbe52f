"""Where what a training reports is kept: training.jsonl, TensorBoard, Weights & Biases, all by one interface.

A record has a kind (start, progress, skipped, dev, end), the number of updates made so far, and values by name, such as
numbers and texts. A recorder that meets trouble says so once and records no more; training goes on.
"""
