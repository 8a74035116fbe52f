"""Processes: which rank this one is, on which device, how ranks start, meet, watch each other and end."""
