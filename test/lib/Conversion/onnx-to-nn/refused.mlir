// RUN: cleave-opt %s --convert-onnx-to-nn="dims=batch=2,past=3,total=9 guesses=rows=5" -split-input-file -verify-diagnostics

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

// -----

// Sizes that were given are not corrected.
onnx.graph "contradiction" inputs ["cache", "mask"] outputs ["y"] : [tensor<?xf32>] {
^bb0(%cache: tensor<?xf32, #onnx.dims<["past"]>>, %mask: tensor<?xf32, #onnx.dims<["total"]>>):
  %c = onnx.node "Concat" "" since 13 "join"(%cache, %cache) -> ["c"] {axis = 0 : i64} : (tensor<?xf32, #onnx.dims<["past"]>>, tensor<?xf32, #onnx.dims<["past"]>>) -> !onnx.value
  // expected-error @below {{2 * past = 6 and total = 9 have to be equal}}
  %y = onnx.node "Add" "" since 14 "add"(%c, %mask) -> ["y"] {} : (!onnx.value, tensor<?xf32, #onnx.dims<["total"]>>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// Nor are guesses that no size can mend.
onnx.graph "impossible" inputs ["x"] outputs ["y"] : [tensor<?xf32>] {
^bb0(%x: tensor<?xf32, #onnx.dims<["rows"]>>):
  %c = onnx.node "Concat" "" since 13 "join"(%x, %x) -> ["c"] {axis = 0 : i64} : (tensor<?xf32, #onnx.dims<["rows"]>>, tensor<?xf32, #onnx.dims<["rows"]>>) -> !onnx.value
  %odd = onnx.node "Constant" "" since 13 "odd"() -> ["o"] {value_floats = array<f32: 1.0, 2.0, 3.0>} : () -> !onnx.value
  // expected-error @below {{2 * rows = 10 and 3 have to be equal}}
  %y = onnx.node "Add" "" since 14 "add"(%c, %odd) -> ["y"] {} : (!onnx.value, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "attention_of_doubles" inputs ["x"] outputs ["y"] : [tensor<1x2x3x4xf64>] {
^bb0(%x: tensor<1x2x3x4xf64>):
  // expected-error @below {{Attention with operands of f64 is not supported}}
  %y = onnx.node "Attention" "" since 23 "a"(%x, %x, %x) -> ["y"] {} : (tensor<1x2x3x4xf64>, tensor<1x2x3x4xf64>, tensor<1x2x3x4xf64>) -> !onnx.value
  onnx.output %y : !onnx.value
}
