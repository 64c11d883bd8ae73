// RUN: cleave-opt %s --kernel-split-load | FileCheck %s

// CHECK-LABEL: @transposed_weight_is_a_parameter
// CHECK-SAME: (%[[X:.*]]: tensor<2x4xf32>, %[[P:.*]]: tensor<4x8xf32> {rt.param})
// CHECK-SAME: rt.load = @transposed_weight_is_a_parameter_load
// CHECK-NEXT: nn.matmul %[[X]], %[[P]]
// CHECK: func private @transposed_weight_is_a_parameter_load
// CHECK-NEXT: %[[W:.*]] = nn.weight "w"
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[W]]
// CHECK-NEXT: return %[[T]]
func.func @transposed_weight_is_a_parameter(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 128 : tensor<8x4xf32>
  %t = nn.transpose %w [1, 0] : tensor<8x4xf32>
  %y = nn.matmul %x, %t : tensor<2x4xf32>, tensor<4x8xf32>
  return %y : tensor<2x8xf32>
}

// A weight under another shape needs no copy.
// CHECK-LABEL: @reshaped_weight_is_read_from_the_file
// CHECK-NOT: rt.param
// CHECK: nn.weight "w"
// CHECK-NEXT: nn.reshape
// CHECK: func private @reshaped_weight_is_read_from_the_file_load
// CHECK-NEXT: return
func.func @reshaped_weight_is_read_from_the_file(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 32 : tensor<2x4xf32>
  %r = nn.reshape %w : tensor<2x4xf32> to tensor<8xf32>
  %y = nn.add %x, %r : tensor<2x8xf32>, tensor<8xf32>
  return %y : tensor<2x8xf32>
}

// As a parameter it would take memory, in main it costs an address.
// CHECK-LABEL: @broadcast_weight_stays
// CHECK-NOT: rt.param
// CHECK: nn.broadcast
func.func @broadcast_weight_stays(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 32 : tensor<8xf32>
  %b = nn.broadcast %w : tensor<8xf32> to tensor<2x8xf32>
  %y = nn.add %x, %b : tensor<2x8xf32>, tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}
