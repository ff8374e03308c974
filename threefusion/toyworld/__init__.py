"""A small world of procedural objects whose shape and colour are known in closed form.

It trains the priors in `threefusion/bundled/` and scores what score distillation makes of them.
"""
