"""A small world of procedural objects whose shape and colour are known in closed form.

The bundled priors were trained on pictures of it (`training/`), and it scores what score distillation makes of them.
"""
