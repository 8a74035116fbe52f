"""Matrix products and guards for torch.compile: what both losses and models stand on."""
