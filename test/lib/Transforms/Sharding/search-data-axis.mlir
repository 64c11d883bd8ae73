// RUN: cleave-opt %s --shard-search=mesh=dp=4 --mlir-print-local-scope | FileCheck %s

// A batch of 8 over dp: weights are whole.
// CHECK: dist.weights = {w = [#dist.sharding<[4096, 4096]>]}
// CHECK-LABEL: @main
func.func @main(%x: tensor<8x512x4096xf32>) -> tensor<8x512x4096xf32> {
  %w = nn.weight "w" in "m" at 0 length 67108864 : tensor<4096x4096xf32>
  // CHECK: nn.matmul
  // CHECK-SAME: dist.results = [#dist.sharding<[8 over "dp", 512, 4096]>]
  %y = nn.matmul %x, %w : tensor<8x512x4096xf32>, tensor<4096x4096xf32>
  // CHECK: nn.softmax
  // CHECK-SAME: dist.operands = [#dist.sharding<[8 over "dp", 512, 4096]>]
  %z = nn.softmax %y dim 2 : tensor<8x512x4096xf32>
  return %z : tensor<8x512x4096xf32>
}
