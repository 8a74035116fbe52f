"""What the prepare.sh and run.sh of a recipe leave to Python: options, facts of the training, stages, jobs."""
