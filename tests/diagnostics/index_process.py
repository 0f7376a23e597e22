"""An ideal index process, and journeys counted by another road than the library's."""

import numpy as np

UPS_AND_DOWNS = np.array([0.1, 0.6, 0.3, 0.45])


def simulate(rng, rejection, num_rounds, num_ladders, scheme="alternating"):
    """Replica on each rung, (num_rounds + 1, K, num_ladders), tries rejected independently."""
    num_rungs = len(rejection) + 1
    replica = np.tile(np.arange(num_rungs)[:, None], (1, num_ladders))
    states = [replica]
    for n in range(num_rounds):
        drawn_parity = rng.integers(0, 2, num_ladders)
        parity = n % 2 if scheme == "alternating" else drawn_parity
        replica = replica.copy()
        for k, rejected in enumerate(rejection):
            swapped = (rng.random(num_ladders) >= rejected) & (parity == k % 2)
            pair = replica[k : k + 2]
            replica[k : k + 2] = np.where(swapped, pair[::-1], pair)
        states.append(replica)
    return np.stack(states).astype(np.int32)


def count_journeys(replicas):
    """Restarts and round trips of one ladder, replica by replica: (num_states, K) to two ints."""
    num_rungs = replicas.shape[1]
    restarts = round_trips = 0
    for name in range(num_rungs):
        rungs = np.argmax(replicas == name, axis=1)
        ends = [k for k in rungs if k in (0, num_rungs - 1)]
        visits = [k for i, k in enumerate(ends) if i == 0 or k != ends[i - 1]]
        if visits and visits[0] != 0:
            visits = visits[1:]
        restarts += len(visits) // 2
        round_trips += max(0, len(visits) - 1) // 2
    return restarts, round_trips
