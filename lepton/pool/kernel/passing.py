"""What numba is taught: to pass a named tuple of arrays by one pointer. Imported only where numba is installed.

Numba passes a tuple by value: a `Pool` is 200 words, which every call of compiled code had to hand on, and the
compiler to follow through every function. So a class of tuples that is registered here is a type of its own: the tuple
is laid out once, when compiled code is entered, and from there on only its address goes round. Its fields may be
read; what they say of each array (where, how long) is never changed by compiled code.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)


class Shared(types.Type):  # type: ignore[misc, unused-ignore]
    """A named tuple that compiled code has the address of."""

    def __init__(self, cls: type, fields: tuple[Any, ...]) -> None:
        """`fields`: numba's types of the fields of `cls`."""
        self.cls, self.fields = cls, fields
        digest = sha256(", ".join(map(str, fields)).encode()).hexdigest()  # every symbol's name would repeat it in full
        super().__init__(name=f"{cls.__name__}({digest[:16]})")

    @property
    def key(self) -> Any:
        """What makes two of them the same type."""
        return self.cls, self.fields

    def place(self, name: str) -> int:
        """Which field has a name; -1 if none has."""
        names = self.cls._fields  # type: ignore[attr-defined]
        return names.index(name) if name in names else -1


def layout(context: Any, typ: Shared) -> ir.Type:
    """The fields one after the other; a shared tuple in a shared one is its address."""
    return ir.LiteralStructType([context.get_data_type(each) for each in typ.fields])


@register_model(Shared)
class _Address(models.OpaqueModel):  # type: ignore[misc, unused-ignore]
    """The address of the fields."""


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc, unused-ignore]
    key = Shared

    def generic_resolve(self, typ: Shared, name: str) -> Any:
        place = typ.place(name)
        return None if place < 0 else typ.fields[place]


@lower_getattr_generic(Shared)  # type: ignore[untyped-decorator, unused-ignore]
def _read(context: Any, builder: Any, typ: Shared, value: Any, name: str) -> Any:
    """A field, as it is."""
    place = typ.place(name)
    fields = builder.bitcast(value, layout(context, typ).as_pointer())
    address = cgutils.gep_inbounds(builder, fields, 0, place)
    its = typ.fields[place]
    found = context.unpack_value(builder, its, address)
    return impl_ret_borrowed(context, builder, its, found)


@unbox(Shared)  # type: ignore[untyped-decorator, unused-ignore]
def _lay_out(typ: Shared, tuple_: Any, at: Any) -> Any:
    """Write the fields of a tuple side by side, for as long as the call lasts."""
    fields = cgutils.alloca_once(at.builder, layout(at.context, typ))
    failed = cgutils.alloca_once_value(at.builder, cgutils.false_bit)
    for place, its in enumerate(typ.fields):
        native = at.unbox(its, at.pyapi.tuple_getitem(tuple_, place))
        at.context.pack_value(at.builder, its, native.value, cgutils.gep_inbounds(at.builder, fields, 0, place))
        with at.builder.if_then(native.is_error, likely=False):
            at.builder.store(cgutils.true_bit, failed)
    return NativeValue(at.builder.bitcast(fields, cgutils.voidptr_t), is_error=at.builder.load(failed))


def share(cls: type) -> None:
    """Have tuples of a class passed so."""

    def typeof(value: Any, context: Any) -> Shared:
        return Shared(cls, tuple(typeof_impl(each, context) for each in value))

    typeof_impl.register(cls)(typeof)


class Draft(JITCodeLibrary):  # type: ignore[misc, unused-ignore]
    """A function that compiled code calls. It is made better, and machine code, where that is: as a part of it.

    What it would need to raise anything is not there.
    """

    @property
    def codegen(self) -> Any:
        """Who is asked to put in place what an exception needs."""
        return self

    def set_env(self, name: str, environment: object) -> None:
        """There is no place."""

    def _optimize_final_module(self) -> None:
        """Later."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Nowhere."""
        self._ensure_finalized()
        return 0

    def serialize_using_object_code(self) -> Any:
        """As it is kept."""
        return self.serialize_using_bitcode()


class Drafting(Compiler):  # type: ignore[misc, unused-ignore]
    """Numba's compiler, as far as a draft."""

    def define_pipelines(self) -> Any:
        """The usual ones."""
        self.state.library = Draft(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


def for_both(make: Callable[..., Callable[[Any], Any]], function: FunctionType) -> Any:
    """Compile a function for callers in Python and, apart, for compiled ones. Most have only these: what would unpack
    a `Pool` that comes from Python is longer than most of what is done with it, and all of a function that others are
    compiled into was compiled once for each of them.

    For compiled callers it is compiled once for each type; numba would, for each `True`, 0 or 1 that it is called with.

    Args:
        make: gives numba's decorator with these options besides.
    """
    outside = make()(function)
    inside = cache(lambda: make(no_cpython_wrapper=True, pipeline_class=Drafting)(_twin(function)))
    plain = types.unliteral  # type: ignore[attr-defined, unused-ignore]
    outside.get_call_template = lambda args, kws: inside().get_call_template([plain(each) for each in args], kws)
    outside.get_overload = lambda signature: inside().get_overload(signature)
    return outside


def _twin(function: FunctionType) -> FunctionType:
    """The same under another name, by which numba keeps what it has compiled."""
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    twin.__qualname__ = f"{function.__qualname__}_inside"
    twin.__module__ = function.__module__
    return twin
