"""Stages 0 to 7 of prepare.sh: from a corpus to what training reads. Only local/ and egs/ import it."""
