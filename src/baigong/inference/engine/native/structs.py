"""The structures of forward.cpp as ctypes sees them, field by field."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_void_p


class Matrix(Structure):
    _fields_ = (
        ("kind", c_int32),
        ("k", c_int32),
        ("bands", c_int32),
        ("data", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
    )


class Lora(Structure):
    _fields_ = (
        ("rank", c_int32),
        ("a", c_void_p),
        ("b", c_void_p),
        ("first", c_void_p),
        ("count", c_void_p),
        ("offset", c_void_p),
    )


class LoraPart(Structure):
    _fields_ = (
        ("rank", c_int32),
        ("start", c_int32),
        ("stop", c_int32),
        ("kind", c_int32),
        ("scale", c_float),
        ("a", c_void_p),
        ("b", c_void_p),
    )


class LoraJob(Structure):
    _fields_ = (
        ("k", c_int32),
        ("blocks", c_int32),
        ("is_float", c_int32),
        ("parts", c_int32),
        ("part", LoraPart * 3),
        ("order", c_void_p),
        ("to", POINTER(Lora)),
    )


class Layer(Structure):
    _fields_ = (
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("qk_norm", c_void_p),
        ("qkv", Matrix),
        ("out", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
        ("window", c_int32),
    )


class Model(Structure):
    _fields_ = (
        ("layers", c_int32),
        ("hidden", c_int32),
        ("inner", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("d", c_int32),
        ("vocabulary", c_int32),
        ("is_float", c_int32),
        ("epsilon", c_float),
        ("scale", c_float),
        ("layer", POINTER(Layer)),
        ("embedding", Matrix),
        ("head", Matrix),
        ("norm", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
    )


class Sequence(Structure):
    _fields_ = (
        ("start", c_int32),
        ("count", c_int32),
        ("past", c_int32),
        ("pages", c_void_p),
    )


class Segment(Structure):
    _fields_ = (("start", c_int32), ("stop", c_int32), ("ranks", c_int32), ("parts", c_void_p))


class Step(Structure):
    _fields_ = (
        ("rows", c_int32),
        ("sequences", c_int32),
        ("segments", c_int32),
        ("wanted", c_int32),
        ("ids", c_void_p),
        ("positions", c_void_p),
        ("wanted_rows", c_void_p),
        ("sequence", POINTER(Sequence)),
        ("segment", POINTER(Segment)),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("layer_stride", c_int64),
        ("logits", c_void_p),
        ("hidden", c_void_p),
        ("tokens", c_void_p),
    )


def address(array: object) -> int | None:
    """Where a numpy array or a tensor lies; None for None."""
    if array is None:
        return None
    if hasattr(array, "data_ptr"):
        return int(array.data_ptr())
    return int(array.ctypes.data)  # type: ignore[attr-defined]


__all__ = ["Layer", "Lora", "Matrix", "Model", "Segment", "Sequence", "Step", "address", "ctypes"]
