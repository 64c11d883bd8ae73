// RUN: cleave-opt %s --convert-onnx-to-nn=dims=batch=2 | FileCheck %s

// The shape is bound, so what was computed from it is a number.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[X:.*]]: tensor<2x6xf32> {{.*}}onnx.name = "x"}
// CHECK-NOT: nn.constant
// CHECK: %[[Y:.*]] = nn.reshape %[[X]] : tensor<2x6xf32> to tensor<3x4xf32>
// CHECK-NEXT: return %[[Y]]
onnx.graph "g" inputs ["x"] outputs ["y"] : [tensor<?x?xf32>] {
^bb0(%x: tensor<?x6xf32, #onnx.dims<["batch", ""]>>):
  %s = onnx.node "Shape" "" since 21 "shape"(%x) -> ["s"] {} : (tensor<?x6xf32, #onnx.dims<["batch", ""]>>) -> !onnx.value
  %d = onnx.node "Constant" "" since 13 "delta"() -> ["d"] {value_ints = array<i64: 1, -2>} : () -> !onnx.value
  %t = onnx.node "Add" "" since 14 "add"(%s, %d) -> ["t"] {} : (!onnx.value, !onnx.value) -> !onnx.value
  %y = onnx.node "Reshape" "" since 21 "reshape"(%x, %t) -> ["y"] {allowzero = 0 : i64} : (tensor<?x6xf32, #onnx.dims<["batch", ""]>>, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}
