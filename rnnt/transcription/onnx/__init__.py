"""Recognition by onnxruntime and numpy alone: folders that export_model.py --format onnx wrote, without torch."""
