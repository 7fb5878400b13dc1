"""torch.compile of each decoder layer: one graph, compiled once and used by all layers."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from llmops_assets.errors import LlmopsError


class CompilerUnavailable(LlmopsError):
    """`compile: layers` is asked for where torch.compile has nothing to compile with, or no layers to compile."""


def compile_layers(model: nn.Module) -> int:
    """Compile every decoder layer of `model` in place, and return how many there are.

    Layer by layer, because equal layers share one compiled graph and the LM head's kernels stay TRL's own. Sizes are
    dynamic, so that a new length of the batch compiles nothing anew. Names of parameters do not change. Call it on the
    trainer's model after `fuse_lora`, and before training begins: an engine then wraps the compiled layers.

    Raises CompilerUnavailable.
    """
    _require_compiler(torch.cuda.is_available())
    layers = _decoder_layers(model)
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)


def _decoder_layers(model: nn.Module) -> nn.ModuleList:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "layers" and isinstance(module, nn.ModuleList):
            return module
    raise CompilerUnavailable(
        f"compile: layers finds no list of decoder layers in {type(model).__name__}; set compile: none"
    )


def _require_compiler(on_gpu: bool) -> None:
    """Inductor compiles C++ for a CPU; Triton a C stub for each kernel on a GPU. Both include Python's headers."""
    found = [name for name in _compilers(on_gpu) if shutil.which(name)]
    if not found:
        raise CompilerUnavailable(
            f"compile: layers needs {' or '.join(_compilers(on_gpu))} on the PATH; install it, or set compile: none"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise CompilerUnavailable(
            f"compile: layers needs Python's headers, and {header} is not there; install them (python3-dev), or set "
            "compile: none"
        )
    if on_gpu and find_spec("triton") is None:
        raise CompilerUnavailable("compile: layers needs triton on a GPU; install it, or set compile: none")


def _compilers(on_gpu: bool) -> list[str]:
    if on_gpu:
        return [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    return [os.environ.get("CXX", "g++")]
