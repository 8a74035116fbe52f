"""Features, augmentation, manifests, the batch plan and batches. The package itself loads nothing."""
