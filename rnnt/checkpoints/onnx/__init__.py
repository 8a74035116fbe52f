"""Models as ONNX graphs with sherpa-onnx's inputs, outputs and metadata. Exporting needs torch and onnx."""
