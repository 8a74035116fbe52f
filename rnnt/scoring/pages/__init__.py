"""HTML pages of scored sets: one system, or two side by side."""
