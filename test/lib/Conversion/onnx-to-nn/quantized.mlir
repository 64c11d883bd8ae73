// RUN: cleave-opt %s --convert-onnx-to-nn -split-input-file | FileCheck %s

// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[Q:.*]]: tensor<2x4xui8> {{.*}}, %[[S:.*]]: tensor<4xf16> {{.*}}, %[[Z:.*]]: tensor<4xui8>
// The difference and the product are those of f32, rounded once.
// CHECK: %[[X:.*]] = nn.cast %[[Q]] : tensor<2x4xui8> to tensor<2x4xf32>
// CHECK: %[[ZF:.*]] = nn.cast
// CHECK: %[[D:.*]] = nn.sub %[[X]], %[[ZF]] : tensor<2x4xf32>, tensor<1x4xf32>
// CHECK: nn.mul %[[D]], %{{.*}} : tensor<2x4xf32>, tensor<1x4xf32>
// CHECK-NEXT: nn.cast %{{.*}} to tensor<2x4xf16>
onnx.graph "dequantise_along_an_axis" inputs ["q", "s", "z"] outputs ["y"] : [tensor<2x4xf16>] {
^bb0(%q: tensor<2x4xui8>, %s: tensor<4xf16>, %z: tensor<4xui8>):
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s, %z) -> ["y"] {axis = -1 : i64} : (tensor<2x4xui8>, tensor<4xf16>, tensor<4xui8>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// Each scale counts for a block of the last dimension.
// CHECK-LABEL: func.func @main
// CHECK: nn.reshape %{{.*}} : tensor<2x6xi8> to tensor<2x2x3xi8>
// CHECK: nn.mul %{{.*}} : tensor<2x2x3xf32>, tensor<2x2x1xf32>
// CHECK-NEXT: nn.reshape %{{.*}} to tensor<2x6xf32>
onnx.graph "dequantise_blocks" inputs ["q", "s"] outputs ["y"] : [tensor<2x6xf32>] {
^bb0(%q: tensor<2x6xi8>, %s: tensor<2x2xf32>):
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s) -> ["y"] {axis = 1 : i64, block_size = 3 : i64} : (tensor<2x6xi8>, tensor<2x2xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// A block that the dimension does not fill.
// CHECK-LABEL: func.func @main
// CHECK: nn.broadcast %{{.*}} to tensor<2x2x4xf32>
// CHECK: nn.slice %{{.*}} sizes [2, 6]
onnx.graph "dequantise_ragged_blocks" inputs ["q", "s"] outputs ["y"] : [tensor<2x6xf32>] {
^bb0(%q: tensor<2x6xi8>, %s: tensor<2x2xf32>):
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%q, %s) -> ["y"] {axis = 1 : i64, block_size = 4 : i64} : (tensor<2x6xi8>, tensor<2x2xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// 8-bit floats have no zero point, so none is subtracted.
// CHECK-LABEL: func.func @main
// CHECK: %[[X:.*]] = nn.cast %{{.*}} : tensor<2x4xf8E4M3FN> to tensor<2x4xf32>
// CHECK-NOT: nn.sub
// CHECK: nn.mul %[[X]], %{{.*}} : tensor<2x4xf32>, tensor<f32>
// CHECK-NEXT: nn.cast %{{.*}} to tensor<2x4xbf16>
onnx.graph "dequantise_floats" inputs ["q", "s"] outputs ["y"] : [tensor<2x4xbf16>] {
^bb0(%q: tensor<2x4xf8E4M3FN>, %s: tensor<bf16>):
  %z = onnx.initializer <"z", tensor<f8E4M3FN>, "\00"> : tensor<f8E4M3FN>
  %y = onnx.node "DequantizeLinear" "" since 23 "d"(%q, %s, %z) -> ["y"] {} : (tensor<2x4xf8E4M3FN>, tensor<bf16>, tensor<f8E4M3FN>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// Nothing is rounded to whole numbers, and what is too large stays so only where it is said.
// CHECK-LABEL: func.func @main
// CHECK: %[[R:.*]] = nn.div
// CHECK-NEXT: %[[Q:.*]] = nn.cast saturate %[[R]] : tensor<2x4xf32> to tensor<2x4xf8E5M2>
// CHECK: %[[S:.*]] = nn.div
// CHECK-NEXT: %[[P:.*]] = nn.cast %[[S]] : tensor<2x4xf32> to tensor<2x4xf8E5M2>
// CHECK-NEXT: return %[[Q]], %[[P]]
onnx.graph "quantise_to_floats" inputs ["x", "s"] outputs ["y", "w"] : [tensor<2x4xf8E5M2>, tensor<2x4xf8E5M2>] {
^bb0(%x: tensor<2x4xf32>, %s: tensor<f32>):
  %y = onnx.node "QuantizeLinear" "" since 21 "q"(%x, %s) -> ["y"] {output_dtype = 19 : i64} : (tensor<2x4xf32>, tensor<f32>) -> !onnx.value
  %w = onnx.node "QuantizeLinear" "" since 21 "p"(%x, %s) -> ["w"] {output_dtype = 19 : i64, saturate = 0 : i64} : (tensor<2x4xf32>, tensor<f32>) -> !onnx.value
  onnx.output %y, %w : !onnx.value, !onnx.value
}

// -----

// ONNX divides, rounds, moves and holds within the type, in this order.
// CHECK-LABEL: func.func @main
// CHECK: nn.div
// CHECK-NEXT: nn.round
// CHECK: nn.add
// CHECK: nn.constant dense<-3.276800e+04>
// CHECK: nn.max
// CHECK: nn.constant dense<3.276700e+04>
// CHECK: nn.min
// CHECK: nn.cast %{{.*}} to tensor<2x4xi16>
onnx.graph "quantise" inputs ["x", "s", "z"] outputs ["y"] : [tensor<2x4xi16>] {
^bb0(%x: tensor<2x4xf32>, %s: tensor<f32>, %z: tensor<i16>):
  %y = onnx.node "QuantizeLinear" "" since 21 "d"(%x, %s, %z) -> ["y"] {} : (tensor<2x4xf32>, tensor<f32>, tensor<i16>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// What is less than a byte is unpacked from bytes, whose rows can be cut.
// CHECK-LABEL: func.func @main
// CHECK: %[[W:.*]] = nn.weight "w" {{.*}} length 64 : tensor<8x8xui8>
// CHECK: %[[R:.*]] = nn.reshape %[[W]] : tensor<8x8xui8> to tensor<8x8x1xui8>
// CHECK: %[[P:.*]] = nn.constant dense<[1, 16]> : tensor<2xui8>
// CHECK: nn.div %[[R]], %[[P]]
// CHECK: nn.add
// CHECK: nn.rem
// CHECK: nn.cast %{{.*}} to tensor<8x8x2xi8>
// CHECK: nn.sub
// CHECK: nn.reshape %{{.*}} to tensor<8x16xi8>
onnx.graph "four_bits" inputs ["s"] outputs ["y"] : [tensor<8x16xf32>] {
^bb0(%s: tensor<f32>):
  %w = onnx.initializer <"w", tensor<8x16xi4>, #onnx.data<"m.bin", 0, 64>> : tensor<8x16xi4>
  %y = onnx.node "DequantizeLinear" "" since 21 "d"(%w, %s) -> ["y"] {} : (tensor<8x16xi4>, tensor<f32>) -> !onnx.value
  onnx.output %y : !onnx.value
}
