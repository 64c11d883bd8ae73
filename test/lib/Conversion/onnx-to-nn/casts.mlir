// RUN: cleave-opt %s --convert-onnx-to-nn | FileCheck %s

// What an 8-bit float does not reach is its largest number, unless a node says otherwise.

// CHECK-LABEL: func.func @main
// CHECK-NEXT: %[[Y:.*]] = nn.cast saturate %{{.*}} : tensor<3xf32> to tensor<3xf8E4M3FN>
// CHECK-NEXT: %[[Z:.*]] = nn.cast %{{.*}} : tensor<3xf32> to tensor<3xf8E5M2>
// CHECK-NEXT: %[[B:.*]] = nn.cast %[[Y]] : tensor<3xf8E4M3FN> to tensor<3xf16>
// CHECK-NEXT: return %[[Y]], %[[Z]], %[[B]]
onnx.graph "g" inputs ["x"] outputs ["y", "z", "b"] : [tensor<3xf8E4M3FN>, tensor<3xf8E5M2>, tensor<3xf16>] {
^bb0(%x: tensor<3xf32>):
  %y = onnx.node "Cast" "" since 19 "y"(%x) -> ["y"] {to = 17 : i64} : (tensor<3xf32>) -> !onnx.value
  %z = onnx.node "Cast" "" since 19 "z"(%x) -> ["z"] {to = 19 : i64, saturate = 0 : i64} : (tensor<3xf32>) -> !onnx.value
  %b = onnx.node "Cast" "" since 19 "b"(%y) -> ["b"] {to = 10 : i64} : (!onnx.value) -> !onnx.value
  onnx.output %y, %z, %b : !onnx.value, !onnx.value, !onnx.value
}
