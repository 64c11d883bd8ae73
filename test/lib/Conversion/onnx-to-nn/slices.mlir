// RUN: cleave-opt %s --convert-onnx-to-nn | FileCheck %s

// Backwards from before the first element is from the first, and one in front of that is
// nothing: ends reach further than starts.

// CHECK-LABEL: func.func @main
// CHECK-NEXT: %[[Y:.*]] = nn.slice %{{.*}} starts [0] sizes [1] steps [1] : tensor<3xf32>
// CHECK-NEXT: %[[Z:.*]] = nn.slice %{{.*}} starts [2] sizes [3] steps [-1] : tensor<3xf32>
// CHECK-NEXT: return %[[Y]], %[[Z]]
onnx.graph "backwards" inputs ["x"] outputs ["y", "z"] : [tensor<?xf32>, tensor<?xf32>] {
^bb0(%x: tensor<3xf32>):
  %far = onnx.node "Constant" "" since 13 "far"() -> ["far"] {value_ints = array<i64: -5>} : () -> !onnx.value
  %least = onnx.node "Constant" "" since 13 "least"() -> ["least"] {value_ints = array<i64: -9223372036854775807>} : () -> !onnx.value
  %last = onnx.node "Constant" "" since 13 "last"() -> ["last"] {value_ints = array<i64: 7>} : () -> !onnx.value
  %axis = onnx.node "Constant" "" since 13 "axis"() -> ["axis"] {value_ints = array<i64: 0>} : () -> !onnx.value
  %step = onnx.node "Constant" "" since 13 "step"() -> ["step"] {value_ints = array<i64: -1>} : () -> !onnx.value
  %y = onnx.node "Slice" "" since 13 "before"(%x, %far, %least, %axis, %step) -> ["y"] {} : (tensor<3xf32>, !onnx.value, !onnx.value, !onnx.value, !onnx.value) -> !onnx.value
  %z = onnx.node "Slice" "" since 13 "all"(%x, %last, %least, %axis, %step) -> ["z"] {} : (tensor<3xf32>, !onnx.value, !onnx.value, !onnx.value, !onnx.value) -> !onnx.value
  onnx.output %y, %z : !onnx.value, !onnx.value
}
