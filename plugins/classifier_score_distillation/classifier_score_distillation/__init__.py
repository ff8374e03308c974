"""Classifier score distillation for threefusion."""
