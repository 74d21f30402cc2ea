r"""Reads a hand-written backward: what each line computes, where it goes wrong, and which edit makes it right."""
