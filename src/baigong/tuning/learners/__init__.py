"""The learners: one file for each way to learn, over torch. `tuning/objectives.py` is their table."""
