"""Evaluation: metrics, paired statistics and plain baselines."""
