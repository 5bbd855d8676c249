"""Batched conjugate gradients on row-wise Fisher matrices: see `stepgauge.reference.frog` for the mathematics.

A layer has C systems F_j w_j = e_j, one for each output, with F_j = X' diag(S_j) X + tau I in D unknowns, of which N
samples are seen. There are two ways to the same iterates:

- In *parameter space* the vectors w, r, p have D entries. An iteration is two products with X, 4 N D C operations for
  all rows, and the last is one: it needs no A p, since p'Ap = sum(S (X p)^2) + tau p'p.
- In *sample space* every vector is a multiple of e plus X' q: what is kept of p is that multiple, the N coordinates q,
  and X p. Since X A p = (X X') (S X p) + tau X p, an iteration is one product with the N x N matrix X X'; inner
  products of vectors with D entries follow from those of their coordinates. X itself is multiplied three times: for
  X X', for X e, and for the solution. That is the cheaper way where N is well below D.

Per row there is a handful of scalars, kept in double precision. Rows are independent of one another.
"""

from math import isfinite
from numbers import Integral

import numpy as np

from cython cimport floating
from libc.math cimport sqrt
from libc.string cimport memcpy

from _blas cimport clear, gram, multiply
from _sums cimport dot

from stepgauge.core._blas import write_gram, write_product
from stepgauge.core._fisher_arrays import matrices, require_state, require_system

FORMS = ("parameter", "sample")

cdef Py_ssize_t BLOCK = 1 << 18  # entries of X and X p at a time in parameter space: what a second-level cache holds
cdef Py_ssize_t SAMPLES = 256  # but no fewer samples than these
cdef Py_ssize_t ROWS = 256  # systems that are iterated at a time in sample space
cdef Py_ssize_t COLS = 512  # columns of their solutions that are put together at a time
# In sample space r'r is a difference of terms of the size of e'e, and has their rounding errors: those of the solution
# are |e| / |r| times those of parameter space. A row whose residual falls below 1/16 of its start before the last
# iteration is solved again there.
cdef double LOST = 16.0**-2


cdef struct Settings:
    int iterations
    double tau, eps
    bint guarded  # a quotient is 0 where its denominator is not above 0
    bint normalised  # the solution is divided by the root of its product with e


cdef struct Row:  # a system in sample space; p, r and w are each a multiple of e plus X' times coordinates
    double p_e, r_e, w_e  # those multiples
    double rr, pp, er, ep, we  # inner products
    double rp  # of the residual and the direction before: 0 but for eps
    double alpha, beta
    double lowest  # r'r that is more than rounding errors
    bint lost  # it was not


def solve_fisher(X, S, e, tau, num_iters, denom_eps=0.0, *, guarded=True, form=None):
    """The solutions W of F_j w_j = e_j after `num_iters` conjugate gradients from 0, F_j = X' diag(S_j) X + tau I.

    Args:
        X: the inputs, shape (N, D), float32 or float64; all arrays are only read, and copied if not C-contiguous.
        S: the weights of the samples for every row, shape (N, C), not negative; of X's dtype.
        e: the right-hand sides, shape (C, D); of X's dtype.
        tau: the damping.
        num_iters: how many iterations; there is no early stop.
        denom_eps: added to both denominators of an iteration.
        guarded: a quotient is 0 where its denominator is not above 0, so that an exhausted row stays where it is.
        form: "parameter" or "sample" space (see the module); None for the one with fewer operations.

    Returns:
        W, of e's shape and dtype, equal to `conjugate_gradients` of the reference up to rounding.

    Working memory beside S and W, in entries: in parameter space 3 C D + C max(2^18 / (C + D), 256), in sample space
    N^2 + 2 C N + 1536 N, and for rows that are solved again in parameter space what they need there. The GIL is
    released; products run in as many threads as BLAS is allowed.

    Raises:
        TypeError: not a NumPy array, or of a wrong dtype.
        ValueError: the shapes do not fit, or a number is out of range.

    >>> X, S, e = np.eye(2), np.array([[1.0], [3.0]]), np.array([[2.0, 4.0]])
    >>> solve_fisher(X, S, e, tau=1.0, num_iters=2)
    array([[1., 1.]])
    """
    X, S, e = matrices(X=X, S=S, e=e)
    require_system(X, e, S=S)
    settings = checked_settings(tau, num_iters, denom_eps, guarded)
    return solved(X, np.ascontiguousarray(S.T), e, settings, form)


def natural_direction(e, X, Y, scale, tau, num_iters, denom_eps=0.0, *, guarded=True, form=None):
    """FROG's direction F_j^-1 e_j / sqrt(<F_j^-1 e_j, e_j>) for every row, F_j normalised and damped.

    Args:
        e: the momentum, shape (C, D).
        X: the inputs, shape (N, D).
        Y: the signals, shape (N, C), of any layout.
        scale: multiplies the squared signals; matters beside denom_eps only.
        tau, num_iters, denom_eps, guarded, form: as of `solve_fisher`.

    Returns:
        The direction, of e's shape and dtype.

    Raises:
        TypeError, ValueError: as `solve_fisher`.
    """
    X, Y, e = matrices(X=X, Y=Y, e=e, strided="Y")
    require_system(X, e, Y=Y)
    settings = checked_settings(tau, num_iters, denom_eps, guarded)
    settings.normalised = True
    S = np.empty((len(e), len(X)), X.dtype)
    if X.dtype == np.float32:
        weigh_samples[float](X, Y, S, scale, settings)
    else:
        weigh_samples[double](X, Y, S, scale, settings)
    return solved(X, S, e, settings, form)


def solve_shared(X, scale, e, tau, num_iters, denom_eps, *, form=None):
    """The solutions W of A w_j = e_j after `num_iters` unguarded iterations, A = scale X' X + tau I for all rows.

    Args:
        X, e, tau, num_iters, denom_eps: as of `solve_fisher`.
        scale: multiplies the second moment of the inputs.
        form: "matrix", in which it is formed, or "sample" space; None for the one with fewer operations.

    Returns:
        W, of e's shape and dtype, and the diagonal of scale X' X, shape (D,).

    Raises:
        TypeError, ValueError: as `solve_fisher`.
    """
    X, e = matrices(X=X, e=e)
    require_system(X, e)
    settings = checked_settings(tau, num_iters, denom_eps, False)
    (N, D), C, k = X.shape, len(e), settings.iterations
    if form is None:
        form = "sample" if operations_in_samples(N, D, C, k) < N * D * D + 2 * k * D * D * C else "matrix"
    variances = scale * np.einsum("nd,nd->d", X, X)
    if form == "sample":
        return solved(X, np.full((C, N), scale, X.dtype), e, settings, form), variances
    A = np.empty((D, D), X.dtype)
    if e.size:
        write_gram(X, A, transpose=True)
        A *= scale
    return conjugate_gradients(MatrixProduct(A), e, tau, num_iters, denom_eps, guarded=False), variances


def conjugate_gradients(product, e, tau, num_iters, denom_eps=0.0, *, guarded=True, normalised=False):
    """Solutions for matrices that the caller multiplies by, such as those of a convolution by a library for these.

    Args:
        product: called as `product(P, AP)` with matrices of e's shape and dtype, writes A_j p_j without the part of
            tau into the rows of AP, and returns p_j' A_j p_j, float64, shape (C,). In the last iteration AP is None.
        e: the right-hand sides, shape (C, D).
        tau, num_iters, denom_eps, guarded: as of `solve_fisher`.
        normalised: divide each solution w by the root of w'e + denom_eps.

    Returns:
        W, of e's shape and dtype. Working memory beside it: 3 C D entries.

    Raises:
        TypeError, ValueError: as `solve_fisher`.
    """
    (e,) = matrices(e=e)
    settings = checked_settings(tau, num_iters, denom_eps, guarded)
    settings.normalised = normalised
    return solved_in_parameters(product, e, settings) if e.size else np.empty_like(e)


def weigh_outputs(Z, S):
    """Multiply a layer's outputs Z by weights S in place; returns the sums of S Z^2, float64, shape (rows,).

    Between the two products with a convolution, and all that is left after the last.

    Args:
        Z: shape (samples, rows, positions), C-contiguous, float32 or float64; overwritten.
        S: the weights, likewise.

    Raises:
        TypeError, ValueError: an array is not as above.
    """
    require_state("Z", Z, Z, Z.shape)
    require_state("S", S, Z, Z.shape)
    curvature = np.zeros(Z.shape[1])
    if Z.dtype == np.float32:
        weigh_all[float](Z, S, curvature)
    else:
        weigh_all[double](Z, S, curvature)
    return curvature


cdef int weigh_all(floating[:, :, ::1] Z, const floating[:, :, ::1] S, double[::1] curvature) except -1:
    cdef Py_ssize_t n, j
    with nogil:
        for n in range(Z.shape[0]):
            for j in range(Z.shape[1]):
                curvature[j] += weigh(&Z[n, j, 0], &S[n, j, 0], Z.shape[2])
    return 0


class MatrixProduct:
    """The products A p_j with one symmetric matrix for all rows."""

    def __init__(self, A):
        self.A = A

    def __call__(self, P, AP):
        AP = np.empty_like(P) if AP is None else AP
        write_product(P, self.A, AP)
        return np.einsum("cd,cd->c", P, AP, dtype=np.float64)


def cheaper_form(samples, cols, rows, iterations):
    """The form with fewer operations, "parameter" or "sample"."""
    in_parameters = (4 * iterations - 2) * samples * cols * rows
    return "sample" if operations_in_samples(samples, cols, rows, iterations) < in_parameters else "parameter"


def operations_in_samples(N, D, C, k):
    """Of k iterations in sample space: half of X X', by symmetry; X e and X' q; k - 1 products with X X'."""
    return N * N * D + 4 * N * D * C + 2 * (k - 1) * N * N * C


cdef solved(X, S, e, Settings settings, form):
    """The solutions, maybe normalised; S has a row for each system."""
    if form is None:
        form = cheaper_form(X.shape[0], X.shape[1], e.shape[0], settings.iterations)
    elif form not in FORMS:
        raise ValueError(f"Invalid form: {form!r} (must be {' or '.join(map(repr, FORMS))}, or None)")
    W = np.empty_like(e)
    if e.size == 0:
        return W
    again = slice(None)
    if form == "sample":
        lost = np.zeros(len(e), np.uint8)
        if X.dtype == np.float32:
            solve_in_samples[float](X, S, e, W, lost, settings)
        else:
            solve_in_samples[double](X, S, e, W, lost, settings)
        again = np.flatnonzero(lost)
        if again.size == 0:
            return W
    W[again] = solved_in_parameters(FisherProduct(X, S[again]), e[again], settings)
    return W


cdef solved_in_parameters(product, e, Settings settings):
    W = np.zeros_like(e)
    if e.dtype == np.float32:
        solve_in_parameters[float](product, e, W, settings)
    else:
        solve_in_parameters[double](product, e, W, settings)
    return W


cdef int solve_in_parameters(product, const floating[:, ::1] e, floating[:, ::1] W, Settings c) except -1:
    """Solutions in parameter space, from W = 0."""
    cdef Py_ssize_t C = e.shape[0], D = e.shape[1], j
    directions, products = np.array(e), np.empty_like(W)
    cdef floating[:, ::1] P = directions, AP = products, R = e.copy()
    cdef double[::1] rr = np.empty(C), curvature
    for j in range(C):
        rr[j] = dot(&e[j, 0], &e[j, 0], D)
    for _ in range(c.iterations - 1):
        curvature = product(directions, products)
        with nogil:
            for j in range(C):
                iterate(&W[j, 0], &R[j, 0], &P[j, 0], &AP[j, 0], D, curvature[j], &rr[j], c)
    curvature = product(directions, None)
    with nogil:
        for j in range(C):
            advance(&W[j, 0], length(&P[j, 0], D, curvature[j], rr[j], c), &P[j, 0], D)
            if c.normalised:
                scale(&W[j, 0], unit(dot(&W[j, 0], &e[j, 0], D), c), D)
    return 0


cdef inline double length(
    const floating* p, Py_ssize_t n, double curvature, double rr, Settings c
) noexcept nogil:
    """alpha = r'r / p'A p."""
    return quotient(rr, curvature + c.tau * dot(p, p, n) + c.eps, c.guarded)


cdef inline void iterate(
    floating* w, floating* r, floating* p, const floating* Ap, Py_ssize_t n, double curvature, double* rr, Settings c
) noexcept nogil:
    """One iteration on one row."""
    cdef double alpha = length(p, n, curvature, rr[0], c), before = rr[0]
    advance(w, alpha, p, n)
    retreat(r, alpha, Ap, c.tau, p, n)
    rr[0] = dot(r, r, n)
    turn(p, r, quotient(rr[0], before + c.eps, c.guarded), n)


class FisherProduct:
    """The products X' diag(S_j) X p_j for all rows at once; S has a row for each system.

    It goes block by block of X, which is then in the cache when it is used again.
    """

    def __init__(self, X, S):
        (N, D), C = X.shape, len(S)
        self.X, self.S = X, S
        self.room = np.empty((C, min(N, max(BLOCK // (C + D), SAMPLES))), X.dtype)

    def __call__(self, P, AP):
        curvature = np.zeros(len(P))
        if P.dtype == np.float32:
            multiply_fisher[float](self.X, self.S, P, AP, curvature, self.room)
        else:
            multiply_fisher[double](self.X, self.S, P, AP, curvature, self.room)
        return curvature


cdef int multiply_fisher(
    const floating[:, ::1] X, const floating[:, ::1] S, const floating[:, ::1] P, floating[:, ::1] AP,
    double[::1] curvature, floating[:, ::1] room,
) except -1:
    """AP_j = X' diag(S_j) X p_j, if AP is not None, and p_j' AP_j."""
    cdef Py_ssize_t N = X.shape[0], D = X.shape[1], C = P.shape[0], block = room.shape[1], first = 0, count, j
    cdef floating* Z = &room[0, 0]
    cdef bint curvature_only = AP is None
    with nogil:
        if not curvature_only:
            clear(&AP[0, 0], C, D, D)
        while first < N:
            count = min(block, N - first)
            multiply(False, True, C, count, D, &P[0, 0], D, &X[first, 0], D, False, Z, block)
            for j in range(C):
                curvature[j] += weigh(Z + j * block, &S[j, first], count)
            if not curvature_only:
                multiply(False, False, C, D, count, Z, block, &X[first, 0], D, True, &AP[0, 0], D)
            first += count
    return 0


cdef int solve_in_samples(
    const floating[:, ::1] X, const floating[:, ::1] S, const floating[:, ::1] e, floating[:, ::1] W,
    unsigned char[::1] lost, Settings c,
) except -1:
    """Solutions in sample space; `lost` says of which rows they are none."""
    cdef Py_ssize_t N = X.shape[0], D = X.shape[1], C = e.shape[0], block = min(C, ROWS), first = 0, count, j
    dtype = np.asarray(W).dtype
    cdef floating[:, ::1] K = np.empty((N, N), dtype), room = np.empty((6 * block, N), dtype)
    cdef floating[:, ::1] XE = np.empty((C, N), dtype), V = np.zeros((C, N), dtype)
    cdef unsigned char[::1] raw = np.empty(C * sizeof(Row), np.uint8)
    cdef Row* rows = <Row*>&raw[0]
    with nogil:
        gram(False, N, D, &X[0, 0], D, &K[0, 0])
        multiply(False, True, C, N, D, &e[0, 0], D, &X[0, 0], D, False, &XE[0, 0], N)
        for j in range(C):
            start(&rows[j], dot(&e[j, 0], &e[j, 0], D))
        while first < C:
            count = min(block, C - first)
            iterate_in_samples(K, S, XE, V, rows, first, count, room, c)
            first += count
        for j in range(C):
            lost[j] = rows[j].lost
            if c.normalised:
                rows[j].w_e *= unit(rows[j].we, c)
                scale(&V[j, 0], unit(rows[j].we, c), N)
        combine(e, V, X, W, rows)
    return 0


cdef void iterate_in_samples(
    const floating[:, ::1] K, const floating[:, ::1] S, const floating[:, ::1] XE, floating[:, ::1] V, Row* rows,
    Py_ssize_t first, Py_ssize_t count, floating[:, ::1] room, Settings c,
) noexcept nogil:
    """The iterations of `count` rows; V becomes the coordinates of their solutions."""
    cdef Py_ssize_t N = K.shape[0], j
    cdef floating[:, ::1] XP = room[:count], XR = room[count : 2 * count], P = room[2 * count : 3 * count]
    cdef floating[:, ::1] R = room[3 * count : 4 * count], T = room[4 * count : 5 * count]
    cdef floating[:, ::1] KT = room[5 * count : 6 * count]
    cdef Row* row
    cdef double curvature
    cdef int i
    memcpy(&XP[0, 0], &XE[first, 0], count * N * sizeof(floating))
    memcpy(&XR[0, 0], &XE[first, 0], count * N * sizeof(floating))
    clear(&P[0, 0], 2 * count, N, N)
    for i in range(c.iterations):
        for j in range(count):
            row = &rows[first + j]
            memcpy(&T[j, 0], &XP[j, 0], N * sizeof(floating))
            curvature = weigh(&T[j, 0], &S[first + j, 0], N) + c.tau * row.pp
            row.alpha = quotient(row.rr, curvature + c.eps, c.guarded)
            advance(&V[first + j, 0], row.alpha, &P[j, 0], N)
            row.w_e += row.alpha * row.p_e
            row.we += row.alpha * row.ep
        if i == c.iterations - 1:
            break
        multiply(False, False, count, N, N, &T[0, 0], N, &K[0, 0], N, False, &KT[0, 0], N)
        for j in range(count):
            row = &rows[first + j]
            retreat(&R[j, 0], row.alpha, &T[j, 0], c.tau, &P[j, 0], N)
            retreat(&XR[j, 0], row.alpha, &KT[j, 0], c.tau, &XP[j, 0], N)
            next_direction(row, c, dot(&T[j, 0], &XE[first + j, 0], N), dot(&R[j, 0], &XR[j, 0], N), i == 0)
            turn(&P[j, 0], &R[j, 0], row.beta, N)
            turn(&XP[j, 0], &XR[j, 0], row.beta, N)


cdef void combine(
    const floating[:, ::1] e, const floating[:, ::1] V, const floating[:, ::1] X, floating[:, ::1] W, const Row* rows
) noexcept nogil:
    """w = w_e e + X' v, some columns at a time, so that W is in the cache when the product is added."""
    cdef Py_ssize_t N = X.shape[0], D = X.shape[1], C = e.shape[0], first = 0, count, j, k
    cdef floating multiple
    while first < D:
        count = min(COLS, D - first)
        for j in range(C):
            multiple = <floating>rows[j].w_e
            for k in range(first, first + count):
                W[j, k] = multiple * e[j, k]
        multiply(False, False, C, count, N, &V[0, 0], N, &X[0, first], D, True, &W[0, first], D)
        first += count


cdef inline void start(Row* row, double ee) noexcept nogil:
    """r = p = e, w = 0."""
    row.p_e, row.r_e, row.w_e = 1, 1, 0
    row.rr = row.pp = row.er = row.ep = ee
    row.we = row.rp = 0
    row.lowest = LOST * ee
    row.lost = False


cdef inline void next_direction(Row* row, Settings c, double eAp, double rest, bint first) noexcept nogil:
    """The scalars of r - alpha A p, and of the direction r + beta p after it.

    Args:
        eAp: e'A p without the part of tau.
        rest: the product of r with its part X' q.
        first: p is e, so that of e'(r - alpha A p) only what eps leaves is not 0.
    """
    row.r_e -= row.alpha * c.tau * row.p_e
    row.er = row.alpha * c.eps if first else row.er - row.alpha * (eAp + c.tau * row.ep)
    row.rp += row.alpha * c.eps
    cdef double rr = rest + row.r_e * row.er
    if rr < row.lowest:
        row.lost = True
    row.beta = quotient(rr, row.rr + c.eps, c.guarded)
    row.p_e = row.r_e + row.beta * row.p_e
    row.ep = row.er + row.beta * row.ep
    row.pp = rr + 2 * row.beta * row.rp + row.beta * row.beta * row.pp
    row.rp *= row.beta
    row.rr = rr


cdef inline double unit(double we, Settings c) noexcept nogil:
    """The factor that makes the step of a row one of unit length; 0 where w'e is not above 0."""
    return 0 if c.guarded and we + c.eps <= 0 else 1 / sqrt(we + c.eps)


cdef inline double quotient(double a, double b, bint guarded) noexcept nogil:
    """`guarded` or `plain` of `stepgauge.reference.conjugate_gradients`."""
    return 0 if guarded and b <= 0 else a / b


cdef inline double weigh(floating* z, const floating* s, Py_ssize_t n) noexcept nogil:
    """z = s z; the sum of s z^2 before, in lanes that fill a register, block by block."""
    cdef double total = 0
    cdef Py_ssize_t first = 0
    while first < n:
        total += weigh_block(z + first, s + first, min(256, n - first))
        first += 256
    return total


cdef inline floating weigh_block(floating* z, const floating* s, Py_ssize_t n) noexcept nogil:
    cdef floating lane[16]
    cdef floating total = 0, weighed
    cdef Py_ssize_t i, k, turns = n - n % 16
    for k in range(16):
        lane[k] = 0
    for i in range(0, turns, 16):
        for k in range(16):
            weighed = s[i + k] * z[i + k]
            lane[k] += weighed * z[i + k]
            z[i + k] = weighed
    for k in range(16):
        total += lane[k]
    for i in range(turns, n):
        weighed = s[i] * z[i]
        total += weighed * z[i]
        z[i] = weighed
    return total


cdef inline void scale(floating* w, double factor, Py_ssize_t n) noexcept nogil:
    """w *= factor."""
    cdef floating f = <floating>factor
    cdef Py_ssize_t k
    for k in range(n):
        w[k] *= f


cdef inline void advance(floating* w, double alpha, const floating* p, Py_ssize_t n) noexcept nogil:
    """w += alpha p."""
    cdef floating a = <floating>alpha
    cdef Py_ssize_t k
    for k in range(n):
        w[k] += a * p[k]


cdef inline void retreat(
    floating* r, double alpha, const floating* Ap, double tau, const floating* p, Py_ssize_t n
) noexcept nogil:
    """r -= alpha (A p + tau p)."""
    cdef floating a = <floating>alpha, damping = <floating>tau
    cdef Py_ssize_t k
    for k in range(n):
        r[k] -= a * (Ap[k] + damping * p[k])


cdef inline void turn(floating* p, const floating* r, double beta, Py_ssize_t n) noexcept nogil:
    """p = r + beta p."""
    cdef floating b = <floating>beta
    cdef Py_ssize_t k
    for k in range(n):
        p[k] = r[k] + b * p[k]


cdef int weigh_samples(
    const floating[:, ::1] X, const floating[:, :] Y, floating[:, ::1] S, double scale, Settings c
) except -1:
    """S_j = F_j / (tr F_j / D + eps), F_j = scale Y_j^2 being the samples' weights in the Fisher matrix of a row."""
    cdef Py_ssize_t N = X.shape[0], D = X.shape[1], C = S.shape[0], n, j, first = 0, count
    cdef double[::1] trace = np.zeros(C)
    cdef floating energy[64]  # of the samples whose signals are transposed at a time, in the first-level cache
    cdef floating factor = <floating>scale, mean
    with nogil:
        while first < N:
            count = min(64, N - first)
            for n in range(count):
                energy[n] = dot(&X[first + n, 0], &X[first + n, 0], D) / <floating>D
            for j in range(C):
                for n in range(count):
                    S[j, first + n] = factor * (Y[first + n, j] * Y[first + n, j])
                trace[j] += dot(&S[j, first], &energy[0], count)
            first += count
        for j in range(C):
            mean = <floating>(trace[j] + c.eps)
            for n in range(N):
                S[j, n] = 0 if c.guarded and mean <= 0 else S[j, n] / mean
    return 0


cdef Settings checked_settings(tau, num_iters, denom_eps, guarded) except *:
    for name, value in (("tau", tau), ("denom_eps", denom_eps)):
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"Invalid {name}: {value} (must be at least 0 and finite)")
    if not isinstance(num_iters, Integral) or num_iters < 1:
        raise ValueError(f"Invalid num_iters: {num_iters!r} (must be an integer of at least 1)")
    return Settings(num_iters, tau, denom_eps, guarded, False)
