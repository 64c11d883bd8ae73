// RUN: cleave-opt %s --shard-one-shot -split-input-file | FileCheck %s

// A residual reads the sum: the parts of all ranks are gathered, and added in f32 in the
// order of the ranks.
// CHECK-LABEL: func.func @residual
// CHECK: %[[P:.*]] = nn.reshape %arg0 : tensor<4x8xf16> to tensor<1x4x8xf16>
// CHECK: %[[G:.*]] = dist.all_gather %[[P]] dim 0 over ["tp"] counts [1, 1] {dist.bound = 64 : i64, dist.reason = "k is cut; so few bytes are gathered, and added where read"} : tensor<1x4x8xf16> to tensor<2x4x8xf16>
// CHECK: nn.slice %[[G]] starts [0, 0, 0] sizes [1, 4, 8]
// CHECK: %[[A:.*]] = nn.cast %{{.*}} : tensor<4x8xf16> to tensor<4x8xf32>
// CHECK: nn.slice %[[G]] starts [1, 0, 0] sizes [1, 4, 8]
// CHECK: %[[B:.*]] = nn.cast %{{.*}} : tensor<4x8xf16> to tensor<4x8xf32>
// CHECK: %[[S:.*]] = nn.add %[[A]], %[[B]] : tensor<4x8xf32>
// CHECK: %[[C:.*]] = nn.cast %[[S]] : tensor<4x8xf32> to tensor<4x8xf16>
// CHECK: nn.add %[[C]], %arg1
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @residual(%p: tensor<4x8xf16>, %x: tensor<4x8xf16>) -> tensor<4x8xf16> {
  %s = dist.all_reduce sum %p over ["tp"] {dist.reason = "k is cut"} : tensor<4x8xf16>
  %y = nn.add %s, %x : tensor<4x8xf16>, tensor<4x8xf16>
  return %y : tensor<4x8xf16>
}
}

// -----

// On eight ranks 1 MiB is reduced, since each would get seven times as much; 128 KiB is
// gathered. What is stored anyway, two readers here and a product, is reduced too, as is
// what is no sum.
// CHECK-LABEL: func.func @others
// CHECK-SAME: (%[[BIG:.*]]: tensor<512x512xf32>, %[[SMALL:.*]]: tensor<64x512xf32>
// CHECK: dist.all_reduce sum %[[BIG]]
// CHECK: dist.all_gather
// CHECK: dist.all_reduce sum
// CHECK: dist.all_reduce sum
// CHECK: dist.all_reduce max
module attributes {dist.mesh = #dist.mesh<"tp"=8>} {
func.func @others(%big: tensor<512x512xf32>, %small: tensor<64x512xf32>) -> (tensor<512x512xf32>, tensor<64x512xf32>, tensor<64x512xf32>, tensor<64x512xf32>, tensor<64x64xf32>, tensor<64x512xf32>) {
  %a = dist.all_reduce sum %big over ["tp"] : tensor<512x512xf32>
  %b = nn.neg %a : tensor<512x512xf32>
  %c = dist.all_reduce sum %small over ["tp"] : tensor<64x512xf32>
  %d = nn.neg %c : tensor<64x512xf32>
  %e = dist.all_reduce sum %d over ["tp"] : tensor<64x512xf32>
  %f = nn.neg %e : tensor<64x512xf32>
  %g = nn.abs %e : tensor<64x512xf32>
  %h = dist.all_reduce sum %f over ["tp"] : tensor<64x512xf32>
  %w = nn.constant dense<1.0> : tensor<512x64xf32>
  %i = nn.matmul %h, %w : tensor<64x512xf32>, tensor<512x64xf32>
  %j = dist.all_reduce max %small over ["tp"] : tensor<64x512xf32>
  %k = nn.neg %j : tensor<64x512xf32>
  return %b, %f, %g, %d, %i, %k : tensor<512x512xf32>, tensor<64x512xf32>, tensor<64x512xf32>, tensor<64x512xf32>, tensor<64x64xf32>, tensor<64x512xf32>
}
}
