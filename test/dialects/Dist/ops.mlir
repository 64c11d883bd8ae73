// RUN: cleave-opt %s --verify-roundtrip | FileCheck %s

// CHECK: dist.mesh = #dist.mesh<"dp"=2, "tp"=4>
module attributes {dist.mesh = #dist.mesh<"dp"=2, "tp"=4>} {

// CHECK-LABEL: @slice
func.func @slice(%w: tensor<4x7xf32>) -> tensor<4x2xf32> {
  // CHECK: dist.slice %{{.*}} dim 1 over ["tp"] counts [2, 2, 2, 1] : tensor<4x7xf32> to tensor<4x2xf32>
  %p = dist.slice %w dim 1 over ["tp"] counts [2, 2, 2, 1] : tensor<4x7xf32> to tensor<4x2xf32>
  return %p : tensor<4x2xf32>
}

// CHECK-LABEL: @offset_over_a_sub_axis
func.func @offset_over_a_sub_axis() -> tensor<i64> {
  // CHECK: dist.offset over ["tp:(2)2"] counts [1, 1] : tensor<i64>
  %o = dist.offset over ["tp:(2)2"] counts [1, 1] : tensor<i64>
  return %o : tensor<i64>
}

// CHECK-LABEL: @all_reduce
func.func @all_reduce(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // CHECK: dist.all_reduce max %{{.*}} over ["dp", "tp"] : tensor<4x8xf32>
  %r = dist.all_reduce max %x over ["dp", "tp"] : tensor<4x8xf32>
  return %r : tensor<4x8xf32>
}

// A member may give nothing.
// CHECK-LABEL: @all_gather
func.func @all_gather(%x: tensor<2x1xf32>) -> tensor<2x3xf32> {
  // CHECK: dist.all_gather %{{.*}} dim 1 over ["tp"] counts [1, 1, 1, 0] : tensor<2x1xf32> to tensor<2x3xf32>
  %r = dist.all_gather %x dim 1 over ["tp"] counts [1, 1, 1, 0] : tensor<2x1xf32> to tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

// CHECK-LABEL: @reduce_scatter
func.func @reduce_scatter(%x: tensor<5x2xbf16>) -> tensor<3x2xbf16> {
  // CHECK: dist.reduce_scatter sum %{{.*}} dim 0 over ["dp"] counts [3, 2] : tensor<5x2xbf16> to tensor<3x2xbf16>
  %r = dist.reduce_scatter sum %x dim 0 over ["dp"] counts [3, 2] : tensor<5x2xbf16> to tensor<3x2xbf16>
  return %r : tensor<3x2xbf16>
}

// CHECK-LABEL: @all_to_all
func.func @all_to_all(%x: tensor<1x4x8xf32>) -> tensor<1x8x4xf32> {
  // CHECK: dist.all_to_all %{{.*}} split 2 concat 1 over ["dp"] splits [4, 4] concats [4, 4]
  %r = dist.all_to_all %x split 2 concat 1 over ["dp"] splits [4, 4] concats [4, 4]
     : tensor<1x4x8xf32> to tensor<1x8x4xf32>
  return %r : tensor<1x8x4xf32>
}

// The second member: it sends 4 elements of 6 to the first and gets 3.
// CHECK-LABEL: @exchange
func.func @exchange(%x: tensor<6xf32>) -> tensor<5xf32> {
  // CHECK: dist.exchange %{{.*}} over ["dp"] counts [6, 3, 4, 2] : tensor<6xf32> to tensor<5xf32>
  %r = dist.exchange %x over ["dp"] counts [6, 3, 4, 2] : tensor<6xf32> to tensor<5xf32>
  return %r : tensor<5xf32>
}

// CHECK-LABEL: @transfers
func.func @transfers(%x: tensor<4x8xf32>) -> (tensor<4x8xf32> {dist.part = #dist.part<1 at 2 of tensor<6x8xf32>>}) {
  // CHECK: dist.send %{{.*}} to 1 over ["dp"] : tensor<4x8xf32>
  dist.send %x to 1 over ["dp"] : tensor<4x8xf32>
  // CHECK: dist.recv from 0 over ["dp"] : tensor<4x8xf32>
  %r = dist.recv from 0 over ["dp"] : tensor<4x8xf32>
  // CHECK: dist.wait %{{.*}} to 1 over ["dp"] : tensor<4x8xf32>
  dist.wait %x to 1 over ["dp"] : tensor<4x8xf32>
  return %r : tensor<4x8xf32>
}

// CHECK-LABEL: @schedule
func.func @schedule() attributes {
  // CHECK-SAME: dist.schedule = [#dist.block<stage 1 chunk 1 micro 0 from 1200 to 2500>]
  dist.schedule = [#dist.block<stage 1 chunk 1 micro 0 from 1200 to 2500>]
} { return }

// CHECK-LABEL: @shardings
func.func @shardings() attributes {
  // CHECK-SAME: cut = #dist.sharding<[2, 8 over "tp", 4 over "tp" * 16]>
  cut = #dist.sharding<[2, 8 over "tp", 4 over "tp" * 16]>,
  // CHECK-SAME: fused = #dist.sharding<[(4 over "tp" * 16 | 2 over ["dp", "tp"] * 16 | 32)]>
  fused = #dist.sharding<[(4 over "tp" * 16 | 2 over ["dp", "tp"] * 16 | 32)]>,
  // CHECK-SAME: partial = #dist.sharding<[], partial over ["dp", "tp"]>
  partial = #dist.sharding<[], partial over ["dp", "tp"]>,
  // CHECK-SAME: single = #dist.extent<3 over "dp" * 2>
  single = #dist.extent<3 over "dp" * 2>
} { return }
}
