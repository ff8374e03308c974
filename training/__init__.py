"""Training of the models in `threefusion/bundled/`: data, recipes, training loops and evaluation.

A program beside the package: `python -m training --help`, from a checkout.
"""
