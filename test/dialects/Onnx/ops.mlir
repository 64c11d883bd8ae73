// RUN: cleave-opt %s --verify-roundtrip | FileCheck %s

// CHECK: onnx.function attributes {{{.*}}function_name = "Twice"
onnx.function attributes {domain = "local", function_name = "Twice", overload = "", inputs = ["x"], outputs = ["y"], parameters = [], defaults = {}, opset = {ai.onnx = 20 : i64}} {
^bb0(%x: !onnx.value):
  %y = onnx.node "Add" "" since 14 "add"(%x, %x) -> ["y"] {} : (!onnx.value, !onnx.value) -> !onnx.value
  onnx.output %y : !onnx.value
}

// CHECK: onnx.graph "g" inputs ["x"] outputs ["y"]
onnx.graph "g" inputs ["x"] outputs ["y"] : [tensor<?xf32>] {
// CHECK: tensor<?xf32, #onnx.dims<["batch"]>>
^bb0(%x: tensor<?xf32, #onnx.dims<["batch"]>>):
  // CHECK: onnx.initializer <"w", tensor<512xf32>, #onnx.data<"m.onnx", 64, 2048>>
  %w = onnx.initializer <"w", tensor<512xf32>, #onnx.data<"m.onnx", 64, 2048>> : tensor<512xf32>
  // CHECK: onnx.none
  %n = onnx.none
  // CHECK: onnx.node "Clip" "" since 13 "clip"
  %y = onnx.node "Clip" "" since 13 "clip"(%x, %n, %w) -> ["y"] {} : (tensor<?xf32, #onnx.dims<["batch"]>>, none, tensor<512xf32>) -> !onnx.value
  // CHECK: onnx.output
  onnx.output %y : !onnx.value
}
