"""N-best lists of a decode ranked anew, with scores of language models: what rescore.py runs."""
