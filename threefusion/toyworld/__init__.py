"""Procedural objects with closed-form shape and colour.

The bundled priors were trained on renderings of them (`training/`), and results of score distillation are scored against them.
"""
