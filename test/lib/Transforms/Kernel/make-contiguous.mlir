// RUN: cleave-opt %s --kernel-make-contiguous | FileCheck %s

module attributes {dist.mesh = #dist.mesh<"tp" = 2>} {
  // CHECK-LABEL: @inner_dimension_comes_first
  func.func @inner_dimension_comes_first(%x: tensor<3x2xf32>) -> tensor<3x4xf32> {
    // CHECK: %[[T:.*]] = nn.transpose %arg0 [1, 0]
    // CHECK-NEXT: %[[G:.*]] = dist.all_gather %[[T]] dim 0 over ["tp"] counts [2, 2] : tensor<2x3xf32> to tensor<4x3xf32>
    // CHECK-NEXT: nn.transpose %[[G]] [1, 0]
    %y = dist.all_gather %x dim 1 over ["tp"] counts [2, 2] : tensor<3x2xf32> to tensor<3x4xf32>
    return %y : tensor<3x4xf32>
  }

  // CHECK-LABEL: @outermost_stays
  func.func @outermost_stays(%x: tensor<1x2xf32>) -> tensor<1x4xf32> {
    // CHECK-NOT: nn.transpose
    %y = dist.all_gather %x dim 1 over ["tp"] counts [2, 2] : tensor<1x2xf32> to tensor<1x4xf32>
    return %y : tensor<1x4xf32>
  }
}
