"""What runs the models: ONNX Runtime in this process, or a TorchServe process beside it."""
