// RUN: cleave-opt %s --shard-pipeline -split-input-file | FileCheck %s

// Two products, a micro-batch after the other through two stages: a send waits only
// when the next one wants to leave, and the last one at the end.
// CHECK: dist.classes = array<i64: 0, 1>, dist.mesh = #dist.mesh<"pp"=2>
// CHECK-SAME: dist.schedule = [#dist.block<stage 0 chunk 0 micro 0 from 0 to {{[0-9]+}}>, #dist.block<stage 0 chunk 0 micro 1
// CHECK-SAME: dist.stages = array<i64: 0, 1>
// CHECK-LABEL: func.func @main_0
// CHECK-SAME: (%[[X:.*]]: tensor<128x512xf32>) {
// CHECK: %[[X0:.*]] = nn.slice %[[X]] starts [0, 0] sizes [64, 512]
// CHECK: %[[W:.*]] = nn.weight "a"
// CHECK: %[[A0:.*]] = nn.matmul %[[X0]], %[[W]]
// CHECK: dist.send %[[A0]] to 1 over ["pp"] {dist.reason = "stage 1 reads what stage 0 makes"}
// CHECK: %[[X1:.*]] = nn.slice %[[X]] starts [64, 0] sizes [64, 512]
// CHECK: %[[A1:.*]] = nn.matmul %[[X1]], %[[W]]
// CHECK: dist.wait %[[A0]] to 1
// CHECK: dist.send %[[A1]] to 1
// CHECK: dist.wait %[[A1]] to 1
// CHECK-NEXT: return
// CHECK-LABEL: func.func @main_1
// CHECK-SAME: -> (tensor<64x512xf32> {dist.part = #dist.part<0 at 0 of tensor<128x512xf32>>}, tensor<64x512xf32> {dist.part = #dist.part<0 at 64 of tensor<128x512xf32>>})
// CHECK: %[[R0:.*]] = dist.recv from 0 over ["pp"]
// CHECK: %[[B0:.*]] = nn.matmul %[[R0]]
// CHECK: %[[R1:.*]] = dist.recv from 0 over ["pp"]
// CHECK: %[[B1:.*]] = nn.matmul %[[R1]]
// CHECK: return %[[B0]], %[[B1]]
module attributes {dist.mesh = #dist.mesh<"micro-batch"=2, "pp"=2>, dist.classes = array<i64: 0, 0, 0, 0>} {
func.func @main(%x: tensor<128x512xf32>) -> (tensor<64x512xf32> {dist.part = #dist.part<0 at 0 of tensor<128x512xf32>>}) {
  %a = nn.weight "a" in "m" at 0 length 1048576 {dist.made_for = 0} : tensor<512x512xf32>
  %b = nn.weight "b" in "m" at 1048576 length 1048576 {dist.made_for = 1} : tensor<512x512xf32>
  %part = dist.slice %x dim 0 over ["micro-batch"] counts [64, 64] {dist.made_for = 2} : tensor<128x512xf32> to tensor<64x512xf32>
  %y = nn.matmul %part, %a {dist.made_for = 2} : tensor<64x512xf32>, tensor<512x512xf32>
  %z = nn.matmul %y, %b {dist.made_for = 3} : tensor<64x512xf32>, tensor<512x512xf32>
  return %z : tensor<64x512xf32>
}
}

// -----

// What is cheap and follows from inputs alone is made by each stage that reads it; the
// view that the second stage reads is made there too.
// CHECK-LABEL: func.func @main_0
// CHECK: nn.tanh
// CHECK: %[[Y:.*]] = nn.matmul
// CHECK: dist.send %[[Y]]
// CHECK-LABEL: func.func @main_1
// CHECK: %[[R:.*]] = dist.recv from 0 over ["pp"] : tensor<64x512xf32>
// CHECK: %[[V:.*]] = nn.reshape %[[R]]
// CHECK: %[[Z:.*]] = nn.matmul %[[V]]
// CHECK: %[[T:.*]] = nn.tanh
// CHECK: nn.add %[[Z]], %[[T]]
module attributes {dist.mesh = #dist.mesh<"pp"=2>, dist.classes = array<i64: 0, 0>} {
func.func @main(%x: tensor<64x512xf32>) -> (tensor<64x512xf32> {dist.part = #dist.part<0 at 0 of tensor<64x512xf32>>}) {
  %a = nn.weight "a" in "m" at 0 length 1048576 {dist.made_for = 0} : tensor<512x512xf32>
  %t = nn.tanh %x {dist.made_for = 1} : tensor<64x512xf32>
  %y = nn.matmul %t, %a {dist.made_for = 2} : tensor<64x512xf32>, tensor<512x512xf32>
  %v = nn.reshape %y {dist.made_for = 2} : tensor<64x512xf32> to tensor<64x512xf32>
  %z = nn.matmul %v, %a {dist.made_for = 3} : tensor<64x512xf32>, tensor<512x512xf32>
  %s = nn.add %z, %t {dist.made_for = 3} : tensor<64x512xf32>, tensor<64x512xf32>
  return %s : tensor<64x512xf32>
}
}

// -----

// Without stages and micro-batches it changes nothing.
// CHECK: module attributes {dist.classes = array<i64: 0, 0>, dist.mesh = #dist.mesh<"tp"=2>}
// CHECK-LABEL: func.func @main(
module attributes {dist.mesh = #dist.mesh<"tp"=2>, dist.classes = array<i64: 0, 0>} {
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
}
