// RUN: cleave-opt %s --shard-search=mesh=tp=4 --mlir-print-local-scope -split-input-file | FileCheck %s

// Columns, then rows: the reduction is all that travels.
// CHECK: dist.mesh = #dist.mesh<"tp"=4>
// CHECK-SAME: down = [#dist.sharding<[128 over "tp", 64]>]
// CHECK-SAME: up = [#dist.sharding<[64, 128 over "tp"]>]
// CHECK-LABEL: @main
func.func @main(%x: tensor<1x8x64xf32>) -> tensor<1x8x64xf32> {
  %up = nn.weight "up" in "m" at 0 length 32768 : tensor<64x128xf32>
  %down = nn.weight "down" in "m" at 32768 length 32768 : tensor<128x64xf32>
  // CHECK: nn.matmul %arg0
  // CHECK-SAME: dist.results = [#dist.sharding<[1, 8, 128 over "tp"]>]
  %h = nn.matmul %x, %up : tensor<1x8x64xf32>, tensor<64x128xf32>
  // CHECK: nn.silu
  // CHECK-SAME: dist.operands = [#dist.sharding<[1, 8, 128 over "tp"]>]
  %a = nn.silu %h : tensor<1x8x128xf32>
  // CHECK: nn.matmul
  // CHECK-SAME: dist.held = [#dist.sharding<[1, 8, 64]>]
  // CHECK-SAME: dist.results = [#dist.sharding<[1, 8, 64], partial over "tp">]
  %y = nn.matmul %a, %down : tensor<1x8x128xf32>, tensor<128x64xf32>
  return %y : tensor<1x8x64xf32>
}

// -----

// Two kv heads on four ranks: kv takes a sub-axis, the group of queries the rest,
// and the cache stays where it is.
// CHECK-LABEL: @main
// CHECK-SAME: dist.held = #dist.sharding<[1, 2 over "tp:(1)2", 16, 8]>
func.func @main(%x: tensor<1x1x64xf32>, %past: tensor<1x2x16x8xf32>) -> (tensor<1x1x64xf32>, tensor<1x2x17x8xf32>) {
  %wq = nn.weight "q" in "m" at 0 length 16384 : tensor<64x64xf32>
  %wk = nn.weight "k" in "m" at 16384 length 4096 : tensor<64x16xf32>
  %wo = nn.weight "o" in "m" at 20480 length 16384 : tensor<64x64xf32>
  %q0 = nn.matmul %x, %wq : tensor<1x1x64xf32>, tensor<64x64xf32>
  %q1 = nn.reshape %q0 : tensor<1x1x64xf32> to tensor<1x1x8x8xf32>
  %q = nn.transpose %q1 [0, 2, 1, 3] : tensor<1x1x8x8xf32>
  %k0 = nn.matmul %x, %wk : tensor<1x1x64xf32>, tensor<64x16xf32>
  %k1 = nn.reshape %k0 : tensor<1x1x16xf32> to tensor<1x1x2x8xf32>
  %k2 = nn.transpose %k1 [0, 2, 1, 3] : tensor<1x1x2x8xf32>
  %k = nn.concat %past, %k2 axis 2 : tensor<1x2x16x8xf32>, tensor<1x2x1x8xf32>
  // CHECK: nn.attention
  // CHECK-SAME: dist.operands = [#dist.sharding<[1, 2 over "tp:(1)2" * 4 over "tp:(2)2", 1, 8]>, #dist.sharding<[1, 2 over "tp:(1)2", (16 | 1), 8]>
  %a0 = nn.attention %q, %k, %k scale 0.35 : tensor<1x8x1x8xf32>, tensor<1x2x17x8xf32>, tensor<1x2x17x8xf32>
  %a1 = nn.transpose %a0 [0, 2, 1, 3] : tensor<1x8x1x8xf32>
  %a = nn.reshape %a1 : tensor<1x1x8x8xf32> to tensor<1x1x64xf32>
  // CHECK: nn.matmul
  // CHECK-SAME: dist.operands = [#dist.sharding<[1, 1, 2 over "tp:(1)2" * 4 over "tp:(2)2" * 8]>, #dist.sharding<[2 over "tp:(1)2" * 4 over "tp:(2)2" * 8, 64]>]
  %y = nn.matmul %a, %wo : tensor<1x1x64xf32>, tensor<64x64xf32>
  return %y, %k : tensor<1x1x64xf32>, tensor<1x2x17x8xf32>
}
