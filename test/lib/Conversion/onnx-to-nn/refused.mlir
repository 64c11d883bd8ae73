// RUN: cleave-opt %s --convert-onnx-to-nn=dims=batch=2 -split-input-file -verify-diagnostics

onnx.graph "unknown_op" inputs ["x"] outputs ["y"] : [tensor<2xf32>] {
^bb0(%x: tensor<2xf32>):
  // expected-error @below {{op Wobble of domain "my.ops" is not known to the ONNX standard and not supported}}
  %y = onnx.node "Wobble" "my.ops" since 0 "w"(%x) -> ["y"] {} : (tensor<2xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "shapes_differ" inputs ["x"] outputs ["y"] : [tensor<2xf32>] {
^bb0(%x: tensor<2x3xf32>):
  // expected-error @below {{shapes do not multiply}}
  %y = onnx.node "MatMul" "" since 13 "m"(%x, %x) -> ["y"] {} : (tensor<2x3xf32>, tensor<2x3xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}
