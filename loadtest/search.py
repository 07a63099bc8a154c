"""The greatest number of users for which something holds: doubled until it fails, then halved in between."""


def greatest(holds, first, most, precision=0.05):
    """The greatest n, to about `precision`, with holds(n); 0 when not even one user will do.

    holds(n) is asked at most once for each n. It is taken to be monotone, as it is but for noise: whoever uses the result
    has to confirm it.
    """
    good, bad, n = 0, None, max(1, min(first, most))
    while bad is None and good < most:
        if holds(n):
            good, n = n, min(2 * n, most)
        else:
            bad = n
    while bad is not None and bad - good > max(1, int(precision * good)):
        n = (good + bad) // 2
        if holds(n):
            good = n
        else:
            bad = n
    return good
