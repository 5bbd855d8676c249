"""Convolutions as products: their inputs unfolded, as `stepgauge.reference.layers.patches` does."""

import numpy as np

from cython cimport floating

from stepgauge.core._fisher_arrays import tensor


def unfold(x, geometry):
    """The patches of x as the rows of a matrix, shape (samples x positions, channels x kernel height x kernel width).

    Args:
        x: inputs, shape (samples, channels, height, width), float32 or float64; copied if not C-contiguous.
        geometry: `Convolution`; its groups are not looked at.

    Raises:
        TypeError, ValueError: x is not as above, or smaller than a patch.
    """
    x = tensor("x", x)
    samples, channels, *size = x.shape
    height, width = geometry.output_size(size)
    if height < 1 or width < 1:
        raise ValueError(f"Invalid x: shape {x.shape} (is smaller than a patch of kernel {geometry.kernel})")
    kh, kw = geometry.kernel
    (top, _), (left, _) = geometry.padding
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    X = np.empty((samples * height * width, channels * kh * kw), x.dtype)
    cdef Grid grid = Grid(height, width, kh, kw, sh, sw, top, left, dh, dw)
    if X.size and x.dtype == np.float32:
        write_patches[float](x, X, grid)
    elif X.size:
        write_patches[double](x, X, grid)
    return X


cdef struct Grid:
    Py_ssize_t height, width, kernel_height, kernel_width
    Py_ssize_t stride_down, stride_right, top, left, apart_down, apart_right


cdef int write_patches(const floating[:, :, :, ::1] x, floating[:, ::1] X, Grid g) except -1:
    cdef Py_ssize_t sample, i, j, row = 0
    with nogil:
        for sample in range(x.shape[0]):
            for i in range(g.height):
                for j in range(g.width):
                    write_patch(x, sample, i * g.stride_down - g.top, j * g.stride_right - g.left, &X[row, 0], g)
                    row += 1
    return 0


cdef inline void write_patch(
    const floating[:, :, :, ::1] x, Py_ssize_t sample, Py_ssize_t up, Py_ssize_t left, floating* patch, Grid g
) noexcept nogil:
    """The patch whose first corner is at (up, left), with zeros where it lies outside."""
    cdef Py_ssize_t channel, k, m, i, j
    cdef bint inside = left >= 0 and left + g.kernel_width <= x.shape[3] and g.apart_right == 1
    for channel in range(x.shape[1]):
        for k in range(g.kernel_height):
            i = up + k * g.apart_down
            if not 0 <= i < x.shape[2]:
                for m in range(g.kernel_width):
                    patch[m] = 0
            elif inside:
                for m in range(g.kernel_width):
                    patch[m] = x[sample, channel, i, left + m]
            else:
                for m in range(g.kernel_width):
                    j = left + m * g.apart_right
                    patch[m] = x[sample, channel, i, j] if 0 <= j < x.shape[3] else 0
            patch += g.kernel_width
