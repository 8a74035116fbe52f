"""k2's interface: its functions under their names, over the recursions of this library."""
