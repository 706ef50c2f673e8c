"""Every kernel there is, the better ones first. A new kernel is its header, its descriptor and a line here."""

from __future__ import annotations

from secateur.firmware.kernels.batch import AveragePoolBatch, Conv2dBatch, DepthwiseConv2dBatch, MaxPoolBatch
from secateur.firmware.kernels.binary import Maximum, Minimum, SquaredDifference, Sub
from secateur.firmware.kernels.convolution import Conv2d, DepthwiseConv2d, FullyConnected
from secateur.firmware.kernels.descriptor import Kernel
from secateur.firmware.kernels.elementwise import Add, Mul, Requantize, Softmax
from secateur.firmware.kernels.floats import FLOATS
from secateur.firmware.kernels.floats_elementwise import ELEMENTWISE
from secateur.firmware.kernels.floats_recurrent import RECURRENT
from secateur.firmware.kernels.gather import Gather
from secateur.firmware.kernels.indexing import PadElements, Permute, SliceElements, Take
from secateur.firmware.kernels.matrix import BatchMatmul, FullyConnectedComputed, TransposeConv
from secateur.firmware.kernels.movement import Concatenation, Join, Pad, Reshape, StridedSlice, View
from secateur.firmware.kernels.nibbles import NIBBLES
from secateur.firmware.kernels.pooling import AveragePool, MaxPool, Mean
from secateur.firmware.kernels.recurrent import Lstm, Svdf
from secateur.firmware.kernels.reduction import Arg, L2Normalization, ReduceMax, ReduceMin, ReduceSum
from secateur.firmware.kernels.resizing import ResizeBilinear
from secateur.firmware.kernels.tables import Prelu, Table
from secateur.firmware.kernels.types import Cast, Dequantize, QuantizeFloat, QuantizeTable, Rescale
from secateur.firmware.kernels.wide import WIDE
from secateur.firmware.kernels.wide_elementwise import WIDE_ELEMENTWISE
from secateur.firmware.kernels.wide_recurrent import LstmS16

KERNELS: tuple[Kernel, ...] = (
    *NIBBLES,
    Conv2d(),
    DepthwiseConv2d(),
    FullyConnected(),
    Add(),
    Mul(),
    Sub(),
    SquaredDifference(),
    Maximum(),
    Minimum(),
    Table(),
    Prelu(),
    Requantize(),
    Softmax(),
    MaxPool(),
    AveragePool(),
    Mean(),
    ReduceSum(),
    ReduceMax(),
    ReduceMin(),
    Arg(),
    L2Normalization(),
    ResizeBilinear(),
    Conv2dBatch(),
    DepthwiseConv2dBatch(),
    MaxPoolBatch(),
    AveragePoolBatch(),
    TransposeConv(),
    BatchMatmul(),
    FullyConnectedComputed(),
    Svdf(),
    Lstm(),
    QuantizeFloat(),
    QuantizeTable(),
    Rescale(),
    Dequantize(),
    Cast(),
    View(),
    Join(),
    Reshape(),
    Concatenation(),
    Pad(),
    StridedSlice(),
    PadElements(),
    SliceElements(),
    Permute(),
    Take(),
    Gather(),
    *WIDE,
    *WIDE_ELEMENTWISE,
    LstmS16(),
    *FLOATS,
    *ELEMENTWISE,
    *RECURRENT,
)
