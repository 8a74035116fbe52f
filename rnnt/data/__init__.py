"""Cuts, features, validation, augmentation and the batch plan. Import the modules; the package itself loads nothing."""
