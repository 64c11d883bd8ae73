// RUN: cleave-opt %s --convert-onnx-to-nn=dims=n=1099511627776 -split-input-file -verify-diagnostics

// Sizes and counts that no model means: each was memory, time or arithmetic without end.

onnx.graph "one_hot_of_negative_depth" inputs ["x"] outputs ["y"] : [tensor<2xf32>] {
^bb0(%x: tensor<2xi64>):
  %d = onnx.node "Constant" "" since 13 "d"() -> ["d"] {value_int = -7 : i64} : () -> !onnx.value
  %v = onnx.node "Constant" "" since 13 "v"() -> ["v"] {value_floats = array<f32: 0.0, 1.0>} : () -> !onnx.value
  // expected-error @below {{OneHot wants a list of up to 2^24 elements, got: -7}}
  %y = onnx.node "OneHot" "" since 11 "h"(%x, %d, %v) -> ["y"] {axis = -1 : i64} : (tensor<2xi64>, !onnx.value, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "triangle_of_a_huge_matrix" inputs ["x"] outputs ["y"] : [tensor<?x1xf32>] {
^bb0(%x: tensor<?x1xf32, #onnx.dims<["n", ""]>>):
  // expected-error @below {{Trilu wants a list of up to 2^24 elements, got: 1099511627776}}
  %y = onnx.node "Trilu" "" since 14 "t"(%x) -> ["y"] {upper = 1 : i64} : (tensor<?x1xf32, #onnx.dims<["n", ""]>>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "expansion_beyond_memory" inputs ["x"] outputs ["y"] : [tensor<1xf32>] {
^bb0(%x: tensor<1xf32>):
  %s = onnx.node "Constant" "" since 13 "s"() -> ["s"] {value_ints = array<i64: 4294967296, 4294967296>} : () -> !onnx.value
  // expected-error @below {{Expand has a result of an impossible size}}
  %y = onnx.node "Expand" "" since 13 "e"(%x, %s) -> ["y"] {} : (tensor<1xf32>, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "repeats_beyond_64_bits" inputs ["x"] outputs ["y"] : [tensor<4xf32>] {
^bb0(%x: tensor<4xf32>):
  %r = onnx.node "Constant" "" since 13 "r"() -> ["r"] {value_ints = array<i64: 9223372036854775807>} : () -> !onnx.value
  // expected-error @below {{repeats beyond 64 bits, got: 9223372036854775807 times 4}}
  %y = onnx.node "Tile" "" since 13 "t"(%x, %r) -> ["y"] {} : (tensor<4xf32>, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "pads_beyond_64_bits" inputs ["x"] outputs ["y"] : [tensor<4xf32>] {
^bb0(%x: tensor<4xf32>):
  %p = onnx.node "Constant" "" since 13 "p"() -> ["p"] {value_ints = array<i64: -9223372036854775808, 0>} : () -> !onnx.value
  // expected-error @below {{pads by an impossible amount, got: -9223372036854775808}}
  %y = onnx.node "Pad" "" since 13 "pad"(%x, %p) -> ["y"] {mode = "constant"} : (tensor<4xf32>, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "window_beyond_64_bits" inputs ["x"] outputs ["y"] : [tensor<1x1x4xf32>] {
^bb0(%x: tensor<1x1x4xf32>):
  // expected-error @below {{has an impossible stride, dilation or kernel size, got: 9223372036854775807}}
  %y = onnx.node "AveragePool" "" since 11 "p"(%x) -> ["y"] {kernel_shape = array<i64: 9223372036854775807>} : (tensor<1x1x4xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "kernel_of_another_shape" inputs ["x", "w"] outputs ["y"] : [tensor<1x1x2xf32>] {
^bb0(%x: tensor<1x1x4xf32>, %w: tensor<1x1x3xf32>):
  // expected-error @below {{has "kernel_shape" [2] and a filter of [3]; make them equal, or leave the attribute out}}
  %y = onnx.node "Conv" "" since 11 "c"(%x, %w) -> ["y"] {kernel_shape = array<i64: 2>} : (tensor<1x1x4xf32>, tensor<1x1x3xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "pads_of_no_kind" inputs ["x"] outputs ["y"] : [tensor<1x1x3xf32>] {
^bb0(%x: tensor<1x1x4xf32>):
  // expected-error @below {{MaxPool with "auto_pad" other than NOTSET, VALID, SAME_UPPER and SAME_LOWER, got: SAME is not supported}}
  %y = onnx.node "MaxPool" "" since 12 "p"(%x) -> ["y"] {kernel_shape = array<i64: 2>, auto_pad = "SAME"} : (tensor<1x1x4xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// What is read as an integer has to be one.

onnx.graph "float_as_index" inputs ["x"] outputs ["y"] : [tensor<4xf32>] {
^bb0(%x: tensor<4xf32>):
  %i = onnx.node "Constant" "" since 13 "i"() -> ["i"] {value_float = 1.0 : f32} : () -> !onnx.value
  // expected-error @below {{operand #1}}
  %y = onnx.node "Gather" "" since 13 "g"(%x, %i) -> ["y"] {axis = 0 : i64} : (tensor<4xf32>, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "two_numbers_for_k" inputs ["x"] outputs ["y"] : [tensor<4xf32>] {
^bb0(%x: tensor<4xf32>):
  %k = onnx.node "Constant" "" since 13 "k"() -> ["k"] {value_ints = array<i64: 1, 2>} : () -> !onnx.value
  // expected-error @below {{TopK wants one integer as input 1, got: 2}}
  %y:2 = onnx.node "TopK" "" since 11 "t"(%x, %k) -> ["y", "z"] {axis = -1 : i64} : (tensor<4xf32>, !onnx.value) -> (!onnx.value, !onnx.value)
  onnx.output %y#0 : !onnx.value
}

// -----

onnx.graph "range_of_two_types" inputs ["x"] outputs ["y"] : [tensor<4xf32>] {
^bb0(%x: tensor<4xf32>):
  %a = onnx.node "Constant" "" since 13 "a"() -> ["a"] {value_int = 0 : i64} : () -> !onnx.value
  %b = onnx.node "Constant" "" since 13 "b"() -> ["b"] {value_float = 1.0 : f32} : () -> !onnx.value
  // expected-error @below {{counts in different element types, got: 'f32' and 'i64'}}
  %y = onnx.node "Range" "" since 11 "r"(%a, %b, %a) -> ["y"] {} : (!onnx.value, !onnx.value, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "slice_of_nothing" inputs ["x"] outputs ["y"] : [tensor<4xf32>] {
^bb0(%x: tensor<4xf32>):
  // expected-error @below {{Slice takes 3 to 5 inputs, got: 1}}
  %y = onnx.node "Slice" "" since 13 "s"(%x) -> ["y"] {} : (tensor<4xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}
