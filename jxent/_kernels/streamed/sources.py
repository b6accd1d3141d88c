"""Where a tile of logits comes from, and where its cotangent goes."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int

from ..._core import arithmetic as num
from ..._core.meshes import AxisName
from ..._core.pytrees import pytree
from .layouts import row_major


@pytree
@dataclasses.dataclass(frozen=True)
class Dense:
    """An array with all of its classes, on its last axis."""

    x: Float[Array, "*batch v"]

    class_axis: ClassVar = {"x": -1}
    shared: ClassVar[tuple[str, ...]] = ()  # names of what has no batch axes

    @property
    def num_classes(self) -> int:
        return self.x.shape[-1]

    features: ClassVar = 0  # that a logit is the product of

    @property
    def batch(self) -> tuple[int, ...]:
        return self.x.shape[:-1]

    @property
    def itemsize(self) -> int:
        """Of a logit's cotangent, in bytes."""
        return self.x.dtype.itemsize

    def tile(self, start, width) -> Float[Array, "*batch w"]:
        return num.at_least_float32(_take(self.x, start, width, -1))

    def pull(self, start, width, names, partial=False):
        """A tile, and what turns its cotangent into those of the parts that made it.

        `partial` if these are not all rows, so that sums over rows go on being added up.
        """
        del names, partial
        return self.tile(start, width), lambda ct: {"x": ct}


@pytree
@dataclasses.dataclass(frozen=True)
class OfClasses(Dense):
    """One number for each class, the same for all rows."""

    shared: ClassVar = ("x",)


@pytree
@dataclasses.dataclass(frozen=True)
class OneHot:
    """The probabilities of labels, of which some mass is spread over all classes."""

    label: Int[Array, "*batch"]
    smoothing: float | Float[Array, ""] = dataclasses.field(metadata={"number": True})
    num_classes: int = dataclasses.field(metadata={"static": True})
    axis_name: AxisName | None = dataclasses.field(metadata={"static": True})
    dtype: DTypeLike = dataclasses.field(metadata={"static": True})

    class_axis: ClassVar = {}
    shared: ClassVar = ("smoothing",)
    itemsize: ClassVar = 0  # of a cotangent of a tile, which it does not keep
    features: ClassVar = 0

    @property
    def batch(self) -> tuple[int, ...]:
        return self.label.shape

    def tile(self, start, width) -> Float[Array, "*batch w"]:
        k, first, s = self.num_classes, start, self.smoothing
        if self.axis_name is not None:
            first = first + k * jax.lax.axis_index(self.axis_name)
            k = k * jax.lax.axis_size(self.axis_name)
        shape = (*self.label.shape, width)
        classes = first + jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1)
        valid = jnp.where((0 <= self.label) & (self.label < k), 1, jnp.nan)
        hot = classes == self.label[..., None]
        p = jnp.where(hot, 1 - s + s / k, s / k) * valid[..., None]
        return p.astype(self.dtype)

    def pull(self, start, width, names, partial=False):
        if not names:
            return self.tile(start, width), lambda ct: {}
        now = lambda s: dataclasses.replace(self, smoothing=s).tile(start, width)
        p, back = jax.vjp(now, self.smoothing)
        return p, lambda ct: {"smoothing": back(ct)[0]}


@pytree
@dataclasses.dataclass(frozen=True)
class Linear:
    """Logits that nobody has multiplied out.

        z = cap(hidden · weight + bias) / temperature,     cap(u) = c tanh(u / c)
                                                           cap(−∞) = −∞

    Products are taken in the dtype of `hidden`, and add up in float32 at least. The
    temperature is one number, or one for each row.
    """

    hidden: Float[Array, "*batch d"]
    weight: Float[Array, "v d"] | Float[Array, "d v"]
    bias: Float[Array, " v"] | None = None
    temperature: Float[Array, ""] | Float[Array, "*batch"] | None = None
    softcap: Float[Array, ""] | None = None
    vocab_axis: int = dataclasses.field(default=1, metadata={"static": True})

    @property
    def class_axis(self) -> dict[str, int]:
        return {"weight": self.vocab_axis, "bias": 0}

    @property
    def num_classes(self) -> int:
        return self.weight.shape[self.vocab_axis]

    @property
    def shared(self) -> tuple[str, ...]:
        one = self.temperature is not None and self.temperature.ndim == 0
        return "weight", "bias", "softcap", *(["temperature"] if one else [])

    @property
    def batch(self) -> tuple[int, ...]:
        return self.hidden.shape[:-1]

    @property
    def features(self) -> int:
        return self.hidden.shape[-1]

    @property
    def itemsize(self) -> int:
        """Of a logit's cotangent, as it is multiplied, in bytes."""
        return self._cotangent_dtype.itemsize

    @property
    def _cotangent_dtype(self):
        # Eight bits are too few for p − t, which is small.
        dtype = self.hidden.dtype
        return dtype if dtype.itemsize > 1 else jnp.dtype(jnp.bfloat16)

    def tile(self, start, width) -> Float[Array, "*batch w"]:
        u, _, b = self._product(start, width)
        return _finish(u, b, self.temperature, self.softcap)

    def _product(self, start, width):
        w = _take(self.weight, start, width, self.vocab_axis)
        if w.dtype != self.hidden.dtype:
            # Without the barrier, XLA converts a copy of the whole weight beforehand.
            w = jax.lax.optimization_barrier(w).astype(self.hidden.dtype)
        b = None if self.bias is None else _take(self.bias, start, width, 0)
        return _dot(self.hidden, w, [-1], [1 - self.vocab_axis]), w, b

    def pull(self, start, width, names, partial=False):
        u, w, b = self._product(start, width)
        z, back = jax.vjp(_finish, u, b, self.temperature, self.softcap)

        def pieces(ct):
            du, db, dt, dc = back(ct)
            found = {"bias": db, "temperature": dt, "softcap": dc}
            # The products are of the operands' dtype here too, or they would be slow. And
            # without the barrier, each would make this anew of float32 logits, stored.
            dtype = self._cotangent_dtype
            du = jax.lax.optimization_barrier(du.astype(dtype))
            if "hidden" in names:
                found["hidden"] = _dot(du, w.astype(dtype), [-1], [self.vocab_axis])
            if "weight" in names:
                rows, hidden = list(range(du.ndim - 1)), self.hidden.astype(dtype)
                pair = (du, hidden) if self.vocab_axis == 0 else (hidden, du)
                of = self.weight.dtype
                of = num.accumulator(of) if partial else of
                found["weight"] = _dot(*pair, rows, rows, of)
            return found

        return z, pieces


def _finish(u, b, temperature, softcap):
    """Logits of products."""
    if b is not None:
        u = u + jnp.broadcast_to(b.astype(u.dtype), u.shape)
    if softcap is not None:
        # A cap cannot make an impossible class possible, nor have a slope there: 0 · ∞.
        c, impossible = softcap.astype(u.dtype), u == -jnp.inf
        u = jnp.where(impossible, u, c * jnp.tanh(jnp.where(impossible, 0, u) / c))
    if temperature is not None:
        t = temperature.astype(u.dtype)
        u = u / (t[..., None] if t.ndim else t)
    return u


Source = Dense | OneHot | Linear


def arrays_of(source: Source) -> dict[str, Array]:
    """The arrays that logits are made of, by name."""
    fields = dataclasses.fields(source)
    fields = [f.name for f in fields if not f.metadata.get("static")]
    values = {name: getattr(source, name) for name in fields}
    known = lambda x: x is None or isinstance(x, int | float)
    return {name: x for name, x in values.items() if not known(x)}


def _take(x, start, width, axis):
    if width == x.shape[axis]:
        return x
    return jax.lax.dynamic_slice_in_dim(x, start, width, axis)


def _dot(a, b, a_axes, b_axes, dtype=None):
    a_axes, b_axes = [i % a.ndim for i in a_axes], [i % b.ndim for i in b_axes]
    return jax.lax.dot_general(
        a,
        b,
        ((a_axes, b_axes), ((), ())),
        preferred_element_type=dtype or num.accumulator(a.dtype),
    )


def add_up(
    source: Source, total: dict[str, Array] | None, found: dict[str, Array], start
) -> dict[str, Array]:
    """Adds the cotangents that a tile has to those of the tiles before it."""
    result = {}
    for name, piece in found.items():
        axis = source.class_axis.get(name)
        if axis is None:
            result[name] = piece if total is None else total[name] + piece
        else:
            array = getattr(source, name)
            piece = piece.astype(array.dtype)
            if piece.shape != array.shape:
                # Every class is in a tile, so that nothing has to be written beforehand.
                to = jax.typeof(piece).sharding
                whole = jax.lax.empty(array.shape, array.dtype, out_sharding=to)
                whole = whole if total is None else total[name]
                piece = jax.lax.dynamic_update_slice_in_dim(whole, piece, start, axis)
                piece = row_major(piece) if piece.ndim > 1 else piece
            result[name] = piece
    return result


def like(ct: Array, x: Array) -> Array:
    """A cotangent as it has to be: of the dtype of `x`, and equal wherever `x` is."""
    ct = ct.astype(x.dtype)
    axes = tuple(sorted(_varying(ct) - _varying(x)))
    return jax.lax.psum(ct, axes) if axes else ct


def _varying(x: Array) -> frozenset[str]:
    """The axes of a surrounding `shard_map` along which `x` differs."""
    return jax.typeof(x).mat.varying
