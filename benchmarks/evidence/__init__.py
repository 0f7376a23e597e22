"""Evidence at a fixed price: ``te.log_evidence`` and its peers on problems with known evidence.

Run it with::

    python -m benchmarks.evidence --quick                  # 20,000 units, the default of each
    python -m benchmarks.evidence                          # both budgets, and the peers' grids
    python -m benchmarks.evidence --budgets 20000 --problems banana mixture-2 --seeds 20

An interrupted run goes on where it was, row by row, from its JSON file.

It prints, for every problem and peer, the root-mean-square error of the log-evidence in nats
with a 90 % bootstrap interval over the seeds, the bias, the mean cost in units, and the number
of failures, and writes all estimates to ``benchmarks/results/evidence-<backend>.json``.

What is what:

- ``problem``: the type ``Problem``; ``problems``: all of them by name, and the budgets, which
  were fixed before anything was measured;
- ``gaussian``, ``curved``, ``regression``: the problems by subject;
- ``truths``: quadrature and importance sampling that reproduce the stored evidences;
- ``cost``: the unit of cost, and how a size is found that a budget pays;
- ``ours``: the library; ``smc``, ``persistent``, ``nested``, ``host``: the peers; ``peers`` lists
  them all;
- ``report``: errors, intervals and the table.

A failed run has no estimate: it is counted, and left out of the error but not of the cost; read a
low error beside many failures as a failure. Nested sampling stops, failed, at twice the budget,
and a method whose smallest sensible run costs more than one and a half budgets is not run: all
its runs fail at no cost.

Dynesty and reddemcee are optional (``pip install dynesty reddemcee``), and at most eight of their
runs are made. Jaxns is not measured: importing it turns on 64-bit numbers for the whole process,
which changes what the other peers compute. The timber data of Williams (1959) are read from the
file that the environment variable ``TEMPERED_EBM_RADIATA`` names, and replaced by a look-alike
without it.
"""
