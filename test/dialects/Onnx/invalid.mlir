// RUN: cleave-opt %s -split-input-file -verify-diagnostics

// expected-error @below {{names 1 inputs and 2 outputs, got: 1 and 1}}
onnx.graph "graph_c1" inputs ["x"] outputs ["y", "z"] : [tensor<1xf32>] {
^bb0(%x: tensor<1xf32>):
  onnx.output %x : tensor<1xf32>
}

// -----

onnx.graph "node_c1" inputs [] outputs [] : [] {
  // expected-error @below {{names 2 outputs, got: 1 results}}
  %y = onnx.node "Constant" "" since 13 "c"() -> ["y", "z"] {value_int = 1 : i64} : () -> !onnx.value
  onnx.output
}
