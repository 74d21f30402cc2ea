r"""Is it right? Every equation of the article, checked in five independent ways.

- catalogue: the table of equations, one row each.
- torch_reference: the same equations in plain torch.
- exact_arithmetic: symbols and 50-digit numbers that the equations run on.
- evidence: the five kinds of evidence for a row.
- report: the evidence for all rows as a table.
"""
