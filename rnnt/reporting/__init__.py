"""Pages about trainings: what their logs say, in pictures and in words."""
