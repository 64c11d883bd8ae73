// RUN: cleave-opt %s --shard-overlap -split-input-file | FileCheck %s

// 8,192 tokens through the second product of an MLP of 28,672 on eight ranks: product and
// sum take about as long, and four parts hide most of the shorter.
// CHECK-LABEL: func.func @sum
// CHECK: %[[W:.*]] = nn.weight
// CHECK: %[[W0:.*]] = nn.slice %[[W]] starts [0, 0] sizes [3584, 2048]
// CHECK: %[[P0:.*]] = nn.matmul %arg0, %[[W0]] : tensor<1x8192x3584xf16>, tensor<3584x2048xf16>
// CHECK-NEXT: %[[S0:.*]] = dist.all_reduce sum %[[P0]] over ["tp"] {dist.reason = "k is cut; in 4 parts, beside the product"} : tensor<1x8192x2048xf16>
// CHECK: nn.slice %[[W]] starts [0, 2048] sizes [3584, 2048]
// CHECK: nn.slice %[[W]] starts [0, 4096] sizes [3584, 2048]
// CHECK: nn.slice %[[W]] starts [0, 6144] sizes [3584, 2048]
// CHECK: %[[P3:.*]] = nn.matmul
// CHECK-NEXT: %[[S3:.*]] = dist.all_reduce sum %[[P3]]
// CHECK-NEXT: %[[S:.*]] = nn.concat %[[S0]], {{.*}}, %[[S3]] axis 2
// CHECK-NEXT: nn.add %arg1, %[[S]]
module attributes {dist.mesh = #dist.mesh<"tp"=8>} {
func.func @sum(%x: tensor<1x8192x3584xf16>, %r: tensor<1x8192x8192xf16>) -> tensor<1x8192x8192xf16> {
  %w = nn.weight "w" in "m" at 0 length 58720256 : tensor<3584x8192xf16>
  %p = nn.matmul %x, %w : tensor<1x8192x3584xf16>, tensor<3584x8192xf16>
  %s = dist.all_reduce sum %p over ["tp"] {dist.reason = "k is cut"} : tensor<1x8192x8192xf16>
  %y = nn.add %r, %s : tensor<1x8192x8192xf16>, tensor<1x8192x8192xf16>
  return %y : tensor<1x8192x8192xf16>
}
}

// -----

// Rows are scattered, columns are the parts.
// CHECK-LABEL: func.func @scattered
// CHECK: dist.reduce_scatter sum %{{.*}} dim 1 over ["tp"] counts [4096, 4096] : tensor<1x8192x1024xf16> to tensor<1x4096x1024xf16>
// CHECK: nn.concat {{.*}} axis 2 : tensor<1x4096x1024xf16>
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @scattered(%x: tensor<1x8192x2048xf16>) -> tensor<1x4096x8192xf16> {
  %w = nn.weight "w" in "m" at 0 length 33554432 : tensor<2048x8192xf16>
  %p = nn.matmul %x, %w : tensor<1x8192x2048xf16>, tensor<2048x8192xf16>
  %s = dist.reduce_scatter sum %p dim 1 over ["tp"] counts [4096, 4096] : tensor<1x8192x8192xf16> to tensor<1x4096x8192xf16>
  return %s : tensor<1x4096x8192xf16>
}
}

// -----

// The MLP of a layer whose rows are cut between products: what is gathered goes in parts
// through all of it, the next part always before one is computed.
// CHECK-LABEL: func.func @rows
// CHECK: %[[X0:.*]] = nn.slice %arg0 starts [0, 0, 0] sizes [1, 256, 8192]
// CHECK-NEXT: %[[G0:.*]] = dist.all_gather %[[X0]] dim 1 over ["tp"] counts [256, 256, 256, 256, 256, 256, 256, 256] {dist.reason = "rows; in 4 parts, beside the product"} : tensor<1x256x8192xf16> to tensor<1x2048x8192xf16>
// CHECK-NEXT: %[[X1:.*]] = nn.slice %arg0 starts [0, 256, 0] sizes [1, 256, 8192]
// CHECK-NEXT: %[[G1:.*]] = dist.all_gather %[[X1]] dim 1
// CHECK-NEXT: %[[A0:.*]] = nn.matmul %[[G0]], %arg1
// CHECK-NEXT: %[[B0:.*]] = nn.matmul %[[G0]], %arg2
// CHECK-NEXT: %[[C0:.*]] = nn.silu %[[A0]]
// CHECK-NEXT: %[[D0:.*]] = nn.mul %[[C0]], %[[B0]]
// CHECK-NEXT: %[[P0:.*]] = nn.matmul %[[D0]], %arg3
// CHECK-NEXT: %[[S0:.*]] = dist.reduce_scatter sum %[[P0]] dim 1 over ["tp"] counts [256, 256, 256, 256, 256, 256, 256, 256] {dist.reason = "k is cut; in 4 parts, beside the product"} : tensor<1x2048x8192xf16> to tensor<1x256x8192xf16>
// CHECK-NEXT: %[[X2:.*]] = nn.slice
// CHECK-NEXT: %[[G2:.*]] = dist.all_gather %[[X2]]
// CHECK-NEXT: nn.matmul %[[G1]], %arg1
// CHECK: %[[S:.*]] = nn.concat %[[S0]], %{{.*}}, %{{.*}}, %{{.*}} axis 1
// CHECK-NEXT: return %[[S]]
module attributes {dist.mesh = #dist.mesh<"tp"=8>} {
func.func @rows(%x: tensor<1x1024x8192xf16>, %gate: tensor<8192x1280xf16>, %up: tensor<8192x1280xf16>, %down: tensor<1280x8192xf16>) -> tensor<1x1024x8192xf16> {
  %g = dist.all_gather %x dim 1 over ["tp"] counts [1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024] {dist.reason = "rows"} : tensor<1x1024x8192xf16> to tensor<1x8192x8192xf16>
  %a = nn.matmul %g, %gate : tensor<1x8192x8192xf16>, tensor<8192x1280xf16>
  %b = nn.matmul %g, %up : tensor<1x8192x8192xf16>, tensor<8192x1280xf16>
  %c = nn.silu %a : tensor<1x8192x1280xf16>
  %d = nn.mul %c, %b : tensor<1x8192x1280xf16>, tensor<1x8192x1280xf16>
  %p = nn.matmul %d, %down : tensor<1x8192x1280xf16>, tensor<1280x8192xf16>
  %s = dist.reduce_scatter sum %p dim 1 over ["tp"] counts [1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024] {dist.reason = "k is cut"} : tensor<1x8192x8192xf16> to tensor<1x1024x8192xf16>
  return %s : tensor<1x1024x8192xf16>
}
}

// -----

// An input has rows of its own, so the sum is cut by columns as ever.
// CHECK-LABEL: func.func @mixed
// CHECK: dist.all_gather %arg0 dim 0 over ["tp"] counts [4096, 4096]
// CHECK: nn.add %{{.*}}, %arg1
// CHECK: nn.concat {{.*}} axis 1 :
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @mixed(%x: tensor<4096x2048xf16>, %other: tensor<8192x2048xf16>, %w: tensor<2048x8192xf16>) -> tensor<4096x8192xf16> {
  %g = dist.all_gather %x dim 0 over ["tp"] counts [4096, 4096] : tensor<4096x2048xf16> to tensor<8192x2048xf16>
  %a = nn.add %g, %other : tensor<8192x2048xf16>, tensor<8192x2048xf16>
  %p = nn.matmul %a, %w : tensor<8192x2048xf16>, tensor<2048x8192xf16>
  %s = dist.reduce_scatter sum %p dim 0 over ["tp"] counts [4096, 4096] : tensor<8192x8192xf16> to tensor<4096x8192xf16>
  return %s : tensor<4096x8192xf16>
}
}

// -----

// A decode step has nothing to hide a sum behind; of what two read, one would wait; a
// product whose last dimension is scattered keeps its columns.
// CHECK-LABEL: func.func @others
// CHECK-NOT: nn.concat
module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
func.func @others(%token: tensor<1x8192xf16>, %x: tensor<8192x2048xf16>, %w: tensor<8192x8192xf16>, %v: tensor<2048x8192xf16>) -> (tensor<1x8192xf16>, tensor<8192x8192xf16>, tensor<8192x8192xf16>, tensor<8192x4096xf16>) {
  %a = nn.matmul %token, %w : tensor<1x8192xf16>, tensor<8192x8192xf16>
  %b = dist.all_reduce sum %a over ["tp"] : tensor<1x8192xf16>
  %c = nn.matmul %x, %v : tensor<8192x2048xf16>, tensor<2048x8192xf16>
  %d = dist.all_reduce sum %c over ["tp"] : tensor<8192x8192xf16>
  %e = nn.matmul %x, %v : tensor<8192x2048xf16>, tensor<2048x8192xf16>
  %f = dist.reduce_scatter sum %e dim 1 over ["tp"] counts [4096, 4096] : tensor<8192x8192xf16> to tensor<8192x4096xf16>
  return %b, %c, %d, %f : tensor<1x8192xf16>, tensor<8192x8192xf16>, tensor<8192x8192xf16>, tensor<8192x4096xf16>
}
}
