"""Network to files: ONNX, calibration, int8 quantization, TFLite."""
