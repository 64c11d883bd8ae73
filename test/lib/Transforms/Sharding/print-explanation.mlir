// RUN: cleave-opt %s --shard-search=mesh=tp=2 --shard-localize --shard-print-explanation -o /dev/null | FileCheck %s
// RUN: cleave-opt %s --shard-search=mesh=tp=2 --shard-localize --shard-print-explanation=json -o /dev/null | FileCheck %s --check-prefix=JSON
// RUN: cleave-opt %s --shard-search=mesh=tp=4 --shard-localize --shard-one-shot --shard-print-explanation -o /dev/null | FileCheck %s --check-prefix=GATHERED
// RUN: not cleave-opt %s --shard-print-explanation 2>&1 | FileCheck %s --check-prefix=EARLY

// Two layers that differ in a number are told once.
// CHECK: mesh tp=2
// CHECK: cut
// CHECK-NEXT: 2 x inner 128 over tp in 4 weights, 4 values: up0 dim 1
// CHECK: ranks
// CHECK-NEXT: 0-1: weights 64.0 KiB, activations {{.*}}, caches 0 B, sends 4.0 KiB
// CHECK: 2 x all_reduce over tp 2.0 KiB a rank, bound 2.0 KiB layers.0/down
// CHECK-NEXT: matmul sums along what is cut over tp, so each rank has a part of the sum
// CHECK: cut tensors
// CHECK-NEXT: 2 x down0 [128 over "tp", 64]
// CHECK-NEXT: 2 x up0 [64, 128 over "tp"]

// JSON: "mesh": {
// JSON-NEXT: "tp": 2
// JSON: "stages": 1
// JSON: "size": 128,
// JSON: "role": "inner",
// JSON-NEXT: "count": 2,
// JSON-NEXT: "weights": 4,
// JSON-NEXT: "values": 4,
// JSON-NEXT: "first": "up0 dim 1"
// JSON: "weights": 65536
// JSON: "sent": {
// JSON-NEXT: "all_reduce": 4096
// JSON: "name": "down0"
// JSON: "sharding": "[128 over \"tp\", 64]"
// JSON: "kind": "all_reduce"
// JSON: "count": 2,
// JSON-NEXT: "bytes": 2048,
// JSON-NEXT: "bound": 2048,
// JSON-NEXT: "cause": "layers.0/down",

// However a sum is brought together, its bound is that of a sum.
// GATHERED: all_reduce over tp 3.0 KiB a rank, bound 3.0 KiB layers.0/down
// GATHERED: all_gather over tp 6.0 KiB a rank, bound 3.0 KiB layers.1/down

// EARLY: error: is not localised; run --shard-localize first
func.func @main(%x: tensor<1x8x64xf32>) -> tensor<1x8x64xf32> {
  %u0 = nn.weight "up0" in "m" at 0 length 32768 : tensor<64x128xf32>
  %d0 = nn.weight "down0" in "m" at 32768 length 32768 : tensor<128x64xf32>
  %u1 = nn.weight "up1" in "m" at 65536 length 32768 : tensor<64x128xf32>
  %d1 = nn.weight "down1" in "m" at 98304 length 32768 : tensor<128x64xf32>
  %0 = nn.matmul %x, %u0 : tensor<1x8x64xf32>, tensor<64x128xf32> loc("layers.0/up")
  %1 = nn.silu %0 : tensor<1x8x128xf32> loc("layers.0/silu")
  %2 = nn.matmul %1, %d0 : tensor<1x8x128xf32>, tensor<128x64xf32> loc("layers.0/down")
  %3 = nn.matmul %2, %u1 : tensor<1x8x64xf32>, tensor<64x128xf32> loc("layers.1/up")
  %4 = nn.silu %3 : tensor<1x8x128xf32> loc("layers.1/silu")
  %5 = nn.matmul %4, %d1 : tensor<1x8x128xf32>, tensor<128x64xf32> loc("layers.1/down")
  %6 = nn.neg %5 : tensor<1x8x64xf32>
  return %6 : tensor<1x8x64xf32>
}
