"""LiteRT's reference kernels: the judge where TensorFlow Lite Micro lacks an operator or gets it wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from secateur.models.program import Program, pack, unpack


def run_litert(content: bytes, program: Program, samples: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Outputs (n, output bytes) of the `.tflite` bytes, whose Program is `program`."""
    runtime = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    runtime.allocate_tensors()
    outputs = []
    for sample in samples:
        for entry, value in zip(runtime.get_input_details(), unpack(program, program.inputs, sample), strict=True):
            runtime.set_tensor(entry["index"], value)
        runtime.invoke()
        found = [runtime.get_tensor(end["index"]) for end in runtime.get_output_details()]
        outputs.append(pack(program, program.outputs, found))
    return np.stack(outputs)
