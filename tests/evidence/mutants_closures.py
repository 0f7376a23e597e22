"""Bugs that make the arrays of a function part of its program, or forget whose they are."""

from tempered_ebm import _closures
from tests.evidence import checks_closures
from tests.mutants.registry import caught_by

CLOSE = _closures.close


@caught_by(checks_closures.new_data_compile_nothing, "reference")
def data_baked_into_programs(patch):
    """The constants are compared by value, and are no operands."""

    class Baked(_closures._Program):
        def __init__(self, jaxpr, in_tree, out_tree, rules):
            super().__init__(jaxpr, in_tree, out_tree, rules)
            self.key = (*self.key, id(self))
            self._hash = hash(self.key)

    patch.setattr(_closures, "_Program", Baked)


@caught_by(checks_closures.new_data_compile_nothing, "annealed")
def data_of_the_first_call_kept(patch):
    """A program that is found again brings the arrays of the function that it was made from."""
    first = {}

    def close(fn, *examples, num_derivatives=0):
        closed = CLOSE(fn, *examples, num_derivatives=num_derivatives)
        return first.setdefault(closed.func, closed)

    patch.setattr(_closures, "close", close)
