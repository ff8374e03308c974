"""What made the models in `threefusion/bundled/`: data, recipes, training and measurements.

A program beside the package: `python -m training --help`, from a checkout.
"""
