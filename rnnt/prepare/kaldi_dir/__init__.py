"""What Kaldi's scripts for data directories do: validate, fix, subset, combine, copy. `local/data_dir.py` calls it."""
