// RUN: cleave-opt %s --split-input-file \
// RUN:   --convert-onnx-to-nn="guesses=batch=2,past=3,sequence=4,total=5,height=16,width=16" | FileCheck %s

// What shape arithmetic computes from open sizes stays open: here their product, and a
// half that is rounded up.
// CHECK: #[[$FLAT:.*]] = affine_map<()[s0, s1] -> (s0 * s1, 6)>
// CHECK: #[[$HALF:.*]] = affine_map<()[s0, s1] -> (s0, s1 ceildiv 2, 6)>
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<2x4x6xf32> {nn.shape = affine_map<()[s0, s1] -> (s0, s1, 6)>, onnx.name = "x"}
// CHECK-SAME: tensor<8x6xf32> {nn.shape = #[[$FLAT]], onnx.name = "y"}
// CHECK-SAME: tensor<2x2x6xf32> {nn.shape = #[[$HALF]], onnx.name = "z"}
// CHECK-SAME: nn.symbols = ["batch", "sequence"]
onnx.graph "arithmetic" inputs ["x"] outputs ["y", "z"] : [tensor<?x?xf32>, tensor<?x?x?xf32>] {
^bb0(%x: tensor<?x?x6xf32, #onnx.dims<["batch", "sequence", ""]>>):
  %s = onnx.node "Shape" "" since 21 "shape"(%x) -> ["s"] {end = 2 : i64, start = 0 : i64} : (tensor<?x?x6xf32, #onnx.dims<["batch", "sequence", ""]>>) -> !onnx.value
  %zero = onnx.node "Constant" "" since 13 "zero"() -> ["zero"] {value_ints = array<i64: 0>} : () -> !onnx.value
  %p = onnx.node "ReduceProd" "" since 18 "product"(%s, %zero) -> ["p"] {keepdims = 1 : i64} : (!onnx.value, !onnx.value) -> !onnx.value
  %rest = onnx.node "Constant" "" since 13 "rest"() -> ["rest"] {value_ints = array<i64: -1>} : () -> !onnx.value
  %to = onnx.node "Concat" "" since 13 "to"(%p, %rest) -> ["to"] {axis = 0 : i64} : (!onnx.value, !onnx.value) -> !onnx.value
  %y = onnx.node "Reshape" "" since 21 "reshape"(%x, %to) -> ["y"] {allowzero = 0 : i64} : (tensor<?x?x6xf32, #onnx.dims<["batch", "sequence", ""]>>, !onnx.value) -> !onnx.value
  %end = onnx.node "Constant" "" since 13 "end"() -> ["end"] {value_ints = array<i64: 9223372036854775807>} : () -> !onnx.value
  %one = onnx.node "Constant" "" since 13 "one"() -> ["one"] {value_ints = array<i64: 1>} : () -> !onnx.value
  %two = onnx.node "Constant" "" since 13 "two"() -> ["two"] {value_ints = array<i64: 2>} : () -> !onnx.value
  %z = onnx.node "Slice" "" since 13 "every_other"(%x, %zero, %end, %one, %two) -> ["z"] {} : (tensor<?x?x6xf32, #onnx.dims<["batch", "sequence", ""]>>, !onnx.value, !onnx.value, !onnx.value, !onnx.value) -> !onnx.value
  onnx.output %y, %z : !onnx.value, !onnx.value
}

// -----

// A guess that cannot be is corrected: the mask is as long as what it is added to.
// CHECK: #[[$SUM:.*]] = affine_set<()[s0, s1, s2, s3] : (s1 + s2 - s3 == 0)>
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<2x7xf32> {nn.shape = affine_map<()[s0, s1, s2, s3] -> (s0, s3)>, onnx.name = "mask"}
// CHECK-SAME: -> (tensor<2x7xf32>
// CHECK-SAME: nn.equal = #[[$SUM]]
// CHECK-SAME: nn.symbols = ["batch", "past", "sequence", "total"]
onnx.graph "corrected" inputs ["cache", "x", "mask"] outputs ["y"] : [tensor<?x?xf32>] {
^bb0(%cache: tensor<?x?xf32, #onnx.dims<["batch", "past"]>>, %x: tensor<?x?xf32, #onnx.dims<["batch", "sequence"]>>, %mask: tensor<?x?xf32, #onnx.dims<["batch", "total"]>>):
  %c = onnx.node "Concat" "" since 13 "join"(%cache, %x) -> ["c"] {axis = 1 : i64} : (tensor<?x?xf32, #onnx.dims<["batch", "past"]>>, tensor<?x?xf32, #onnx.dims<["batch", "sequence"]>>) -> !onnx.value
  %y = onnx.node "Add" "" since 14 "add"(%c, %mask) -> ["y"] {} : (!onnx.value, tensor<?x?xf32, #onnx.dims<["batch", "total"]>>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// Of several in one equation all become the same: an image of 4 patches of 8 by 8.
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<1x32x32xf32>
onnx.graph "square" inputs ["image", "table"] outputs ["y"] : [tensor<?x?xf32>] {
^bb0(%image: tensor<1x?x?xf32, #onnx.dims<["", "height", "width"]>>, %table: tensor<16xf32>):
  %mean = onnx.node "AveragePool" "" since 22 "patches"(%image) -> ["m"] {kernel_shape = array<i64: 8>, strides = array<i64: 8>} : (tensor<1x?x?xf32, #onnx.dims<["", "height", "width"]>>) -> !onnx.value
  %turned = onnx.node "Transpose" "" since 21 "turn"(%mean) -> ["t"] {perm = array<i64: 0, 2, 1>} : (!onnx.value) -> !onnx.value
  %again = onnx.node "AveragePool" "" since 22 "patches2"(%turned) -> ["n"] {kernel_shape = array<i64: 8>, strides = array<i64: 8>} : (!onnx.value) -> !onnx.value
  %flat = onnx.node "Flatten" "" since 21 "flat"(%again) -> ["f"] {axis = 0 : i64} : (!onnx.value) -> !onnx.value
  %y = onnx.node "Add" "" since 14 "add"(%flat, %table) -> ["y"] {} : (!onnx.value, tensor<16xf32>) -> !onnx.value
  onnx.output %y : !onnx.value
}

// -----

// A list counted down is as long as one counted up; what went over floats is unknown.
// CHECK: affine_map<()[s0] -> (s0 + 1)>
// CHECK: affine_map<(d0) -> (d0)>
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<5xi64>
// CHECK-SAME: tensor<4xf32>
onnx.graph "lists" inputs ["x"] outputs ["down", "half"] : [tensor<?xi64>, tensor<?xf32>] {
^bb0(%x: tensor<?xf32, #onnx.dims<["sequence"]>>):
  %n = onnx.node "Size" "" since 21 "size"(%x) -> ["n"] {} : (tensor<?xf32, #onnx.dims<["sequence"]>>) -> !onnx.value
  %back = onnx.node "Constant" "" since 13 "back"() -> ["back"] {value_int = -1 : i64} : () -> !onnx.value
  %down = onnx.node "Range" "" since 11 "down"(%n, %back, %back) -> ["down"] {} : (!onnx.value, !onnx.value, !onnx.value) -> !onnx.value
  %f = onnx.node "Cast" "" since 21 "cast"(%n) -> ["f"] {to = 1 : i64} : (!onnx.value) -> !onnx.value
  %zero = onnx.node "Constant" "" since 13 "zero"() -> ["zero"] {value_float = 0.0 : f32} : () -> !onnx.value
  %one = onnx.node "Constant" "" since 13 "one"() -> ["one"] {value_float = 1.0 : f32} : () -> !onnx.value
  %up = onnx.node "Range" "" since 11 "up"(%zero, %f, %one) -> ["up"] {} : (!onnx.value, !onnx.value, !onnx.value) -> !onnx.value
  onnx.output %down, %up : !onnx.value, !onnx.value
}
