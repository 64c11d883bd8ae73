// RUN: cleave-opt %s --kernel-make-contiguous | FileCheck %s

module attributes {dist.mesh = #dist.mesh<"tp"=2>} {

// CHECK-LABEL: @inner_dimension_is_brought_out
// CHECK-SAME: %[[X:.*]]: tensor<4x3x5xf32>
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[X]] [2, 0, 1]
// CHECK-NEXT: %[[G:.*]] = dist.all_gather %[[T]] dim 0
// CHECK-SAME: tensor<5x4x3xf32> to tensor<10x4x3xf32>
// CHECK-NEXT: %[[Y:.*]] = nn.transpose %[[G]] [1, 2, 0]
// CHECK-NEXT: return %[[Y]]
func.func @inner_dimension_is_brought_out(%x: tensor<4x3x5xf32>) -> tensor<4x3x10xf32> {
  %y = dist.all_gather %x dim 2 over ["tp"] counts [5, 5] : tensor<4x3x5xf32> to tensor<4x3x10xf32>
  return %y : tensor<4x3x10xf32>
}

// CHECK-LABEL: @scattered_dimension_is_brought_out
// CHECK: dist.reduce_scatter sum %{{.*}} dim 0
// CHECK-SAME: tensor<10x4xf32> to tensor<5x4xf32>
func.func @scattered_dimension_is_brought_out(%x: tensor<4x10xf32>) -> tensor<4x5xf32> {
  %y = dist.reduce_scatter sum %x dim 1 over ["tp"] counts [5, 5] : tensor<4x10xf32> to tensor<4x5xf32>
  return %y : tensor<4x5xf32>
}

// Nothing is outside a dimension but ones.
// CHECK-LABEL: @outermost_stays
// CHECK-NOT: nn.transpose
func.func @outermost_stays(%x: tensor<1x3x5xf32>) -> tensor<1x6x5xf32> {
  %y = dist.all_gather %x dim 1 over ["tp"] counts [3, 3] : tensor<1x3x5xf32> to tensor<1x6x5xf32>
  return %y : tensor<1x6x5xf32>
}

}
