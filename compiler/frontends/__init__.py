"""Files and factories in: PyTorch and ONNX become a Network, an int8 TFLite file becomes a Program."""
