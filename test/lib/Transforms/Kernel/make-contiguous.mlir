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

  // Blocks [2, 3]: the part of dimension 1 that goes to a member, all of its rows.
  // CHECK-LABEL: @even_parts_move_once
  func.func @even_parts_move_once(%x: tensor<3x4xf32>) -> tensor<6x2xf32> {
    // CHECK: %[[T:.*]] = nn.transpose %arg0 [1, 0]
    // CHECK-NEXT: %[[F:.*]] = nn.reshape %[[T]] : tensor<4x3xf32> to tensor<12xf32>
    // CHECK-NEXT: %[[E:.*]] = dist.exchange %[[F]] over ["tp"] counts [6, 6, 6, 6] {dist.reason = "why"}
    // CHECK-NEXT: %[[B:.*]] = nn.reshape %[[E]] : tensor<12xf32> to tensor<2x2x3xf32>
    // CHECK-NEXT: %[[P:.*]] = nn.transpose %[[B]] [0, 2, 1]
    // CHECK-NEXT: nn.reshape %[[P]] : tensor<2x3x2xf32> to tensor<6x2xf32>
    %y = dist.all_to_all %x split 1 concat 0 over ["tp"] splits [2, 2] concats [3, 3] {dist.reason = "why"}
       : tensor<3x4xf32> to tensor<6x2xf32>
    return %y : tensor<6x2xf32>
  }

  // CHECK-LABEL: @uneven_parts_are_joined
  func.func @uneven_parts_are_joined(%x: tensor<5x3xf32>) -> tensor<3x5xf32> {
    // CHECK: dist.exchange %{{.*}} over ["tp"] counts [9, 6, 6, 4]
    // CHECK: nn.slice %{{.*}} starts [0] sizes [9]
    // CHECK: nn.slice %{{.*}} starts [9] sizes [6]
    // CHECK: nn.concat
    %y = dist.all_to_all %x split 0 concat 1 over ["tp"] splits [3, 2] concats [3, 2]
       : tensor<5x3xf32> to tensor<3x5xf32>
    return %y : tensor<3x5xf32>
  }

  // CHECK-LABEL: @a_member_may_get_nothing
  func.func @a_member_may_get_nothing(%x: tensor<1x4xf32>) -> tensor<0x7xf32> {
    // CHECK: %[[E:.*]] = dist.exchange %{{.*}} over ["tp"] counts [3, 0, 4, 0] : tensor<4xf32> to tensor<0xf32>
    // CHECK-NEXT: nn.reshape %[[E]] : tensor<0xf32> to tensor<0x7xf32>
    %y = dist.all_to_all %x split 0 concat 1 over ["tp"] splits [1, 0] concats [3, 4]
       : tensor<1x4xf32> to tensor<0x7xf32>
    return %y : tensor<0x7xf32>
  }
}
