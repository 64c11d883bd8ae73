// RUN: cleave-opt %s --canonicalize --cse | FileCheck %s

module attributes {dist.mesh = #dist.mesh<"tp"=2>} {
  // Another rank waits for each of them.
  // CHECK-LABEL: @collectives_stay
  // CHECK-COUNT-2: dist.all_reduce
  // CHECK-NEXT: dist.all_gather
  // CHECK-NEXT: return
  func.func @collectives_stay(%x: tensor<4x3xf32>) -> tensor<4x3xf32> {
    %a = dist.all_reduce sum %x over ["tp"] : tensor<4x3xf32>
    %b = dist.all_reduce sum %x over ["tp"] : tensor<4x3xf32>
    %c = dist.all_gather %x dim 1 over ["tp"] counts [3, 3] : tensor<4x3xf32> to tensor<4x6xf32>
    return %a : tensor<4x3xf32>
  }

  // CHECK-LABEL: @parts_are_values
  // CHECK-COUNT-1: dist.slice
  // CHECK-NOT: dist.
  func.func @parts_are_values(%x: tensor<4x6xf32>) -> (tensor<4x3xf32>, tensor<4x3xf32>) {
    %a = dist.slice %x dim 1 over ["tp"] counts [3, 3] : tensor<4x6xf32> to tensor<4x3xf32>
    %b = dist.slice %x dim 1 over ["tp"] counts [3, 3] : tensor<4x6xf32> to tensor<4x3xf32>
    %c = dist.offset over ["tp"] counts [3, 3] : tensor<i64>
    return %a, %b : tensor<4x3xf32>, tensor<4x3xf32>
  }
}
