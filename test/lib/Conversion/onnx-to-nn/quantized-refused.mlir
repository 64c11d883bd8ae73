// RUN: cleave-opt %s --convert-onnx-to-nn -split-input-file -verify-diagnostics

onnx.graph "scale_of_another_length" inputs ["q", "s"] outputs ["y"] : [tensor<2x4xf32>] {
^bb0(%q: tensor<2x4xui8>, %s: tensor<3xf32>):
  // expected-error @below {{DequantizeLinear wants a scale and a zero point for the whole of 'tensor<2x4xui8>', or one for each place along dimension 1, got: 'tensor<3xf32>'}}
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s) -> ["y"] {} : (tensor<2x4xui8>, tensor<3xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "number_of_blocks" inputs ["q", "s"] outputs ["y"] : [tensor<2x4xf32>] {
^bb0(%q: tensor<2x4xui8>, %s: tensor<2x3xf32>):
  // expected-error @below {{DequantizeLinear wants one scale and zero point for each 2 places along dimension 1 of 'tensor<2x4xui8>', got: 'tensor<2x3xf32>'}}
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s) -> ["y"] {block_size = 2 : i64} : (tensor<2x4xui8>, tensor<2x3xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "block_size" inputs ["q", "s"] outputs ["y"] : [tensor<2x4xf32>] {
^bb0(%q: tensor<2x4xui8>, %s: tensor<2x3xf32>):
  // expected-error @below {{DequantizeLinear has an impossible block size, got: -4}}
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s) -> ["y"] {block_size = -4 : i64} : (tensor<2x4xui8>, tensor<2x3xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "floats_are_not_quantised" inputs ["q", "s"] outputs ["y"] : [tensor<2x4xf32>] {
^bb0(%q: tensor<2x4xf32>, %s: tensor<f32>):
  // expected-error @below {{DequantizeLinear wants quantised integers or 8-bit floats as input 0, got: 'f32'}}
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s) -> ["y"] {} : (tensor<2x4xf32>, tensor<f32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "two_types" inputs ["x", "s", "z"] outputs ["y"] : [tensor<2x4xi8>] {
^bb0(%x: tensor<2x4xf32>, %s: tensor<f32>, %z: tensor<i8>):
  // expected-error @below {{QuantizeLinear says two types of its output, got: 'i8' by the zero point and 2 by "output_dtype"}}
  %y = onnx.node "QuantizeLinear" "" since 21 "d"(%x, %s, %z) -> ["y"] {output_dtype = 2 : i64} : (tensor<2x4xf32>, tensor<f32>, tensor<i8>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// expected-error @unknown {{output has elements of less than a byte; cast or dequantise it in the model, got: 'i4'}}
onnx.graph "four_bits_leave" inputs ["x", "s"] outputs ["y"] : [tensor<2x4xi4>] {
^bb0(%x: tensor<2x4xf32>, %s: tensor<f32>):
  %y = onnx.node "QuantizeLinear" "" since 21 "d"(%x, %s) -> ["y"] {output_dtype = 22 : i64} : (tensor<2x4xf32>, tensor<f32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "four_bits_are_no_numbers" inputs ["s"] outputs ["y"] : [tensor<8x16xf32>] {
^bb0(%s: tensor<f32>):
  %w = onnx.initializer <"w", tensor<8x16xi4>, #onnx.data<"m.bin", 0, 64>> : tensor<8x16xi4>
  // expected-error @below {{Neg reads 'i4' as input 0, which only ops of quantised tensors do; insert a DequantizeLinear}}
  %y = onnx.node "Neg" "" since 13 "n"(%w) -> ["y"] {} : (tensor<8x16xi4>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "product_of_wide_integers" inputs ["a"] outputs ["y"] : [tensor<4x4xi32>] {
^bb0(%a: tensor<4x4xi32>):
  // expected-error @below {{MatMulInteger wants integers of 8 bits, got: 'tensor<4x4xi32>'}}
  %y = onnx.node "MatMulInteger" "" since 10 "m"(%a, %a) -> ["y"] {} : (tensor<4x4xi32>, tensor<4x4xi32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "bits" inputs ["a", "b", "s"] outputs ["y"] : [tensor<4x4xf32>] {
^bb0(%a: tensor<4x32xf32>, %b: tensor<4x2x8xui8>, %s: tensor<4x2xf32>):
  // expected-error @below {{MatMulNBits with "bits" other than 2, 4 and 8, got: 3 is not supported}}
  %y = onnx.node "MatMulNBits" "com.microsoft" since 1 "m"(%a, %b, %s) -> ["y"] {K = 32 : i64, N = 4 : i64, bits = 3 : i64, block_size = 16 : i64} : (tensor<4x32xf32>, tensor<4x2x8xui8>, tensor<4x2xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "weights_of_another_shape" inputs ["a", "b", "s"] outputs ["y"] : [tensor<4x4xf32>] {
^bb0(%a: tensor<4x32xf32>, %b: tensor<4x2x9xui8>, %s: tensor<4x2xf32>):
  // expected-error @below {{MatMulNBits wants weights of shape [4, 2, 8], got: 'tensor<4x2x9xui8>'}}
  %y = onnx.node "MatMulNBits" "com.microsoft" since 1 "m"(%a, %b, %s) -> ["y"] {K = 32 : i64, N = 4 : i64, bits = 4 : i64, block_size = 16 : i64} : (tensor<4x32xf32>, tensor<4x2x9xui8>, tensor<4x2xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "size_is_missing" inputs ["a", "b", "s"] outputs ["y"] : [tensor<4x4xf32>] {
^bb0(%a: tensor<4x32xf32>, %b: tensor<4x2x8xui8>, %s: tensor<4x2xf32>):
  // expected-error @below {{MatMulNBits wants attribute "N" from 1 to 2147483647}}
  %y = onnx.node "MatMulNBits" "com.microsoft" since 1 "m"(%a, %b, %s) -> ["y"] {K = 32 : i64, block_size = 16 : i64} : (tensor<4x32xf32>, tensor<4x2x8xui8>, tensor<4x2xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "zero_point_of_another_type" inputs ["q", "s", "z"] outputs ["y"] : [tensor<2x4xf32>] {
^bb0(%q: tensor<2x4xui8>, %s: tensor<f32>, %z: tensor<i8>):
  // expected-error @below {{DequantizeLinear wants a zero point of the type of what it moves, 'ui8', got: 'i8' as input 2}}
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s, %z) -> ["y"] {} : (tensor<2x4xui8>, tensor<f32>, tensor<i8>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "zero_point_of_floats" inputs ["a", "z"] outputs ["y"] : [tensor<4x4xi32>] {
^bb0(%a: tensor<4x4xi8>, %z: tensor<f32>):
  // expected-error @below {{MatMulInteger wants quantised integers as input 2, got: 'f32'}}
  %y = onnx.node "MatMulInteger" "" since 10 "m"(%a, %a, %z) -> ["y"] {} : (tensor<4x4xi8>, tensor<4x4xi8>, tensor<f32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "zero_point_of_another_batch" inputs ["a", "b", "z"] outputs ["y"] : [tensor<7x3x4xi32>] {
^bb0(%a: tensor<1x3x5xi8>, %b: tensor<5x4xi8>, %z: tensor<7x3x1xi8>):
  // expected-error @below {{MatMulInteger wants a scale and a zero point for the whole of 'tensor<1x3x5xi8>', or one for each place along dimension 1, got: 'tensor<7x3x1xi8>'}}
  %y = onnx.node "MatMulInteger" "" since 10 "m"(%a, %b, %z) -> ["y"] {} : (tensor<1x3x5xi8>, tensor<5x4xi8>, tensor<7x3x1xi8>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "zero_point_around_an_image" inputs ["x", "w", "z"] outputs ["y"] : [tensor<1x6x5x5xi32>] {
^bb0(%x: tensor<1x4x5x5xui8>, %w: tensor<6x4x3x3xi8>, %z: tensor<i32>):
  // expected-error @below {{ConvInteger wants a zero point of the type of what it moves, 'ui8', got: 'i32' as input 2}}
  %y = onnx.node "ConvInteger" "" since 10 "c"(%x, %w, %z) -> ["y"] {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x4x5x5xui8>, tensor<6x4x3x3xi8>, tensor<i32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "bias_of_another_shape" inputs ["a", "b", "s", "c"] outputs ["y"] : [tensor<3x4x4xf32>] {
^bb0(%a: tensor<4x32xf32>, %b: tensor<4x2x8xui8>, %s: tensor<4x2xf32>, %c: tensor<3x4x4xf32>):
  %none = onnx.none
  // expected-error @below {{MatMulNBits wants a bias that broadcasts to 'tensor<4x4xf32>', got: 'tensor<3x4x4xf32>'}}
  %y = onnx.node "MatMulNBits" "com.microsoft" since 1 "m"(%a, %b, %s, %none, %none, %c) -> ["y"] {K = 32 : i64, N = 4 : i64, block_size = 16 : i64} : (tensor<4x32xf32>, tensor<4x2x8xui8>, tensor<4x2xf32>, none, none, tensor<3x4x4xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "zero_point_of_floats" inputs ["x", "s"] outputs ["y"] : [tensor<2x4xf8E4M3FN>] {
^bb0(%x: tensor<2x4xf32>, %s: tensor<f32>):
  %z = onnx.initializer <"z", tensor<f8E4M3FN>, "\38"> : tensor<f8E4M3FN>
  // expected-error @below {{QuantizeLinear with a zero point of 'f8E4M3FN' other than 0 is not supported}}
  %y = onnx.node "QuantizeLinear" "" since 21 "q"(%x, %s, %z) -> ["y"] {} : (tensor<2x4xf32>, tensor<f32>, tensor<f8E4M3FN>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

onnx.graph "floats_of_another_kind" inputs ["x", "s"] outputs ["y"] : [tensor<2x4xf8E4M3FNUZ>] {
^bb0(%x: tensor<2x4xf32>, %s: tensor<f32>):
  // expected-error @below {{QuantizeLinear with an output of other types than integers of 16 bits and less, f8E4M3FN and f8E5M2 is not supported}}
  %y = onnx.node "QuantizeLinear" "" since 21 "q"(%x, %s) -> ["y"] {output_dtype = 18 : i64} : (tensor<2x4xf32>, tensor<f32>) -> !onnx.value
  onnx.output %y : !onnx.value
}
