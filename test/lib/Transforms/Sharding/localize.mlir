// RUN: cleave-opt %s --shard-localize --cse -split-input-file | FileCheck %s

// k cut: a partial product on each rank, and the bias added to the sum.
// CHECK: dist.classes = array<i64: 0, 0>
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>, %[[W:.*]]: tensor<8x6xf32>
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x6xf32>) -> tensor<4x6xf32> {
  // CHECK: %[[XP:.*]] = dist.slice %[[X]] dim 1 over ["tp"] counts [4, 4]
  // CHECK: %[[WP:.*]] = dist.slice %[[W]] dim 0 over ["tp"] counts [4, 4]
  // CHECK: %[[P:.*]] = nn.matmul %[[XP]], %[[WP]]
  // CHECK: %[[R:.*]] = dist.all_reduce sum %[[P]] over ["tp"] {dist.reason = "matmul sums along what is cut over tp, so each rank has a part of the sum"}
  // CHECK: return %[[R]]
  %y = nn.matmul %x, %w {
    dist.operands = [#dist.sharding<[4, 8 over "tp"]>, #dist.sharding<[8 over "tp", 6]>],
    dist.results = [#dist.sharding<[4, 6], partial over "tp">]}
    : tensor<4x8xf32>, tensor<8x6xf32>
  return %y : tensor<4x6xf32>
}
}

// -----

// 10 rows over 4 ranks are 3, 3, 3, 1: two classes, and a mean of the whole count.
// CHECK: dist.classes = array<i64: 0, 0, 0, 1>
// CHECK-LABEL: func.func @main_0
// CHECK: nn.reduce sum %{{.*}} dims [0] : tensor<3x2xf32>
// CHECK: %[[TEN:.*]] = nn.constant dense<1.000000e+01>
// CHECK: nn.div %{{.*}}, %[[TEN]]
// CHECK: dist.all_reduce sum
// CHECK-LABEL: func.func @main_1
// CHECK: nn.reduce sum %{{.*}} dims [0] : tensor<1x2xf32>
module attributes {dist.mesh = #dist.mesh<"x"=4>} {
func.func @main(%x: tensor<10x2xf32>) -> tensor<1x2xf32> {
  %y = nn.reduce mean %x dims [0] {
    dist.operands = [#dist.sharding<[10 over "x", 2]>],
    dist.results = [#dist.sharding<[1, 2], partial over "x">]} : tensor<10x2xf32>
  return %y : tensor<1x2xf32>
}
}

// -----

// A partial sum that is taken cut is scattered, a cut that moves goes all to all.
// CHECK-LABEL: func.func @main(
// CHECK: dist.reduce_scatter sum %{{.*}} dim 0 over ["sp"] counts [2, 2] {{.*}} : tensor<4x6xf32> to tensor<2x6xf32>
// CHECK: nn.tanh %{{.*}} : tensor<2x6xf32>
// CHECK: dist.all_to_all %{{.*}} split 1 concat 0 over ["sp"] splits [3, 3] concats [2, 2] {{.*}} : tensor<2x6xf32> to tensor<4x3xf32>
// CHECK: nn.tanh %{{.*}} : tensor<4x3xf32>
// CHECK: dist.all_gather %{{.*}} dim 1 over ["sp"] counts [3, 3] {{.*}}the caller
module attributes {dist.mesh = #dist.mesh<"sp"=2>} {
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x6xf32>) -> tensor<4x6xf32> {
  %y = nn.matmul %x, %w {
    dist.operands = [#dist.sharding<[4, 8 over "sp"]>, #dist.sharding<[8 over "sp", 6]>],
    dist.results = [#dist.sharding<[4, 6], partial over "sp">],
    dist.held = [#dist.sharding<[4 over "sp", 6]>]}
    : tensor<4x8xf32>, tensor<8x6xf32>
  %z = nn.tanh %y {dist.operands = [#dist.sharding<[4 over "sp", 6]>],
                   dist.results = [#dist.sharding<[4 over "sp", 6]>]} : tensor<4x6xf32>
  %u = nn.tanh %z {dist.operands = [#dist.sharding<[4, 6 over "sp"]>],
                   dist.results = [#dist.sharding<[4, 6 over "sp"]>]} : tensor<4x6xf32>
  return %u : tensor<4x6xf32>
}
}

// -----

// A fused weight is cut in each of its segments, once, at load.
// CHECK-LABEL: func.func @main(
// CHECK: %[[W:.*]] = nn.weight "qkv"
// CHECK: %[[A:.*]] = nn.slice %[[W]] starts [0, 0] sizes [4, 6]
// CHECK: %[[AP:.*]] = dist.slice %[[A]] dim 1 over ["tp"] counts [3, 3]
// CHECK: %[[B:.*]] = nn.slice %[[W]] starts [0, 6] sizes [4, 2]
// CHECK: %[[BP:.*]] = dist.slice %[[B]] dim 1 over ["tp"] counts [1, 1]
// CHECK: %[[P:.*]] = nn.concat %[[AP]], %[[BP]] axis 1
// CHECK: %[[Y:.*]] = nn.matmul %{{.*}}, %[[P]] : tensor<2x4xf32>, tensor<4x4xf32>
// CHECK: nn.slice %[[Y]] starts [0, 3] sizes [2, 1]
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x2xf32> {
  %w = nn.weight "qkv" in "m" at 0 length 128 : tensor<4x8xf32>
  %y = nn.matmul %x, %w {
    dist.operands = [#dist.sharding<[2, 4]>, #dist.sharding<[4, (6 over "tp" | 2 over "tp")]>],
    dist.results = [#dist.sharding<[2, (6 over "tp" | 2 over "tp")]>]} : tensor<2x4xf32>, tensor<4x8xf32>
  %k = nn.slice %y starts [0, 6] sizes [2, 2] steps [1, 1] {
    dist.operands = [#dist.sharding<[2, (6 over "tp" | 2 over "tp")]>],
    dist.results = [#dist.sharding<[2, 2 over "tp"]>]} : tensor<2x8xf32>
  return %k : tensor<2x2xf32>
}
}

// -----

// A table cut by rows: own rows are found, others are 0, wild indices stay wild.
// CHECK-LABEL: func.func @main_0(
// CHECK: %[[T:.*]] = dist.slice %{{.*}} dim 0 over ["tp"] counts [4, 3] : tensor<7x2xf32> to tensor<4x2xf32>
// CHECK: %[[BEGIN:.*]] = dist.offset over ["tp"] counts [4, 3]
// CHECK: nn.sub %{{.*}}, %[[BEGIN]]
// CHECK: %[[ROWS:.*]] = nn.gather %[[T]]
// CHECK: nn.select %{{.*}}, %[[ROWS]]
// CHECK: dist.all_reduce sum %{{.*}} {dist.reason = "gather looks up a table cut over tp, so each rank has a part of the sum"}
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @main(%t: tensor<7x2xf32>, %i: tensor<5xi64>) -> tensor<5x2xf32> {
  %y = nn.gather %t, %i axis 0 {
    dist.operands = [#dist.sharding<[7 over "tp", 2]>, #dist.sharding<[5]>],
    dist.results = [#dist.sharding<[5, 2], partial over "tp">]} : tensor<7x2xf32>, tensor<5xi64>
  return %y : tensor<5x2xf32>
}
}

// -----

// What is whole counts once in a sum.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<4xf32>
// CHECK: %[[MEMBER:.*]] = dist.offset over ["tp"] counts [1, 1]
// CHECK: %[[FIRST:.*]] = nn.compare eq %[[MEMBER]]
// CHECK: %[[KEPT:.*]] = nn.select %[[FIRST]], %[[X]]
// CHECK: nn.neg %[[KEPT]]
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = nn.neg %x {dist.operands = [#dist.sharding<[4], partial over "tp">],
                  dist.results = [#dist.sharding<[4], partial over "tp">]} : tensor<4xf32>
  return %y : tensor<4xf32>
}
}

// -----

// The second axis cuts the parts of the first: of 7 rows 4 and 3, of these 2, 2, 0 and
// 1, 1, 1. What the first alone gives is gathered over the second.
// CHECK: dist.classes = array<i64: 0, 0, 1, 2, 2, 2>
// CHECK-LABEL: func.func @main_0
// CHECK: dist.slice %{{.*}} dim 0 over ["x", "y"] counts [2, 2, 0, 1, 1, 1]
// CHECK: dist.all_gather %{{.*}} dim 0 over ["y"] counts [2, 2, 0]
// CHECK: nn.neg %{{.*}} : tensor<4x2xf32>
// CHECK-LABEL: func.func @main_2
// CHECK: dist.all_gather %{{.*}} dim 0 over ["y"] counts [1, 1, 1]
// CHECK: nn.neg %{{.*}} : tensor<3x2xf32>
// CHECK: dist.all_gather %{{.*}} dim 0 over ["x"] counts [4, 3]
module attributes {dist.mesh = #dist.mesh<"x"=2, "y"=3>} {
func.func @main(%x: tensor<7x2xf32>) -> tensor<7x2xf32> {
  %y = nn.tanh %x {
    dist.operands = [#dist.sharding<[7 over ["x", "y"], 2]>],
    dist.results = [#dist.sharding<[7 over ["x", "y"], 2]>]} : tensor<7x2xf32>
  %z = nn.neg %y {
    dist.operands = [#dist.sharding<[7 over "x", 2]>],
    dist.results = [#dist.sharding<[7 over "x", 2]>]} : tensor<7x2xf32>
  return %z : tensor<7x2xf32>
}
}

// -----

// k cut: each rank unpacks its own bytes, two elements of k in each.
// CHECK-LABEL: func.func @main(
// CHECK: %[[W:.*]] = nn.weight "w"
// CHECK: %[[B:.*]] = dist.slice %[[W]] dim 1 over ["tp"] counts [4, 4] : tensor<6x8xui8> to tensor<6x4xui8>
// CHECK: nn.reshape %[[B]] : tensor<6x4xui8> to tensor<6x4x1xui8>
// CHECK: nn.div %{{.*}} : tensor<6x4x1xui8>, tensor<2xui8>
// CHECK: nn.reshape %{{.*}} : tensor<6x4x2xui8> to tensor<6x8xui8>
// CHECK: nn.matmul %{{.*}} : tensor<4x8xf32>, tensor<8x6xf32>
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @main(%x: tensor<4x16xf32>) -> tensor<4x6xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 48 : tensor<6x8xui8>
  %p = nn.constant dense<[1, 16]> : tensor<2xui8>
  %r = nn.reshape %w : tensor<6x8xui8> to tensor<6x8x1xui8>
  %d = nn.div %r, %p : tensor<6x8x1xui8>, tensor<2xui8>
  %q = nn.reshape %d : tensor<6x8x2xui8> to tensor<6x16xui8>
  %f = nn.cast %q : tensor<6x16xui8> to tensor<6x16xf32>
  %t = nn.transpose %f [1, 0] : tensor<6x16xf32>
  %y = nn.matmul %x, %t {
    dist.operands = [#dist.sharding<[4, 16 over "tp"]>, #dist.sharding<[16 over "tp", 6]>],
    dist.results = [#dist.sharding<[4, 6], partial over "tp">]}
    : tensor<4x16xf32>, tensor<16x6xf32>
  return %y : tensor<4x6xf32>
}
}

// -----

// 10 elements over 2 ranks are 5 each, which no whole bytes are: the slice stays behind.
// CHECK-LABEL: func.func @main(
// CHECK: nn.reshape %{{.*}} : tensor<6x5x2xui8> to tensor<6x10xui8>
// CHECK: dist.slice %{{.*}} dim 1 over ["tp"] counts [5, 5] : tensor<6x10xui8> to tensor<6x5xui8>
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @main(%x: tensor<4x10xf32>) -> tensor<4x6xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 30 : tensor<6x5xui8>
  %p = nn.constant dense<[1, 16]> : tensor<2xui8>
  %r = nn.reshape %w : tensor<6x5xui8> to tensor<6x5x1xui8>
  %d = nn.div %r, %p : tensor<6x5x1xui8>, tensor<2xui8>
  %q = nn.reshape %d : tensor<6x5x2xui8> to tensor<6x10xui8>
  %f = nn.cast %q : tensor<6x10xui8> to tensor<6x10xf32>
  %t = nn.transpose %f [1, 0] : tensor<6x10xf32>
  %y = nn.matmul %x, %t {
    dist.operands = [#dist.sharding<[4, 10 over "tp"]>, #dist.sharding<[10 over "tp", 6]>],
    dist.results = [#dist.sharding<[4, 6], partial over "tp">]}
    : tensor<4x10xf32>, tensor<10x6xf32>
  return %y : tensor<4x6xf32>
}
}
