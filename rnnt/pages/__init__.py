"""What the HTML pages have in common: document and style, drawings, players and filters. No network."""
