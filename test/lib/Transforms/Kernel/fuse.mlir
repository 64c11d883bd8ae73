// RUN: cleave-opt %s --kernel-split-load --kernel-fuse -split-input-file | FileCheck %s

// CHECK-LABEL: @chain_follows_its_product
// CHECK-NEXT: %[[Y:.*]] = rt.launch @kernel_0
// CHECK-NEXT: return %[[Y]]
// CHECK: func private @kernel_0
// CHECK: nn.matmul
// CHECK-NEXT: nn.add
// CHECK-NEXT: nn.gelu
// CHECK-NEXT: return
func.func @chain_follows_its_product(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  %m = nn.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32>
  %s = nn.add %m, %b : tensor<4x8xf32>, tensor<8xf32>
  %y = nn.gelu erf %s : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: @equal_layers_are_one_kernel
// CHECK-COUNT-3: rt.launch @kernel_0
// CHECK-NOT: @kernel_1
func.func @equal_layers_are_one_kernel(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %a = nn.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32>
  %b = nn.matmul %a, %w : tensor<4x8xf32>, tensor<8x8xf32>
  %c = nn.matmul %b, %w : tensor<4x8xf32>, tensor<8x8xf32>
  return %c : tensor<4x8xf32>
}

// -----

// The sum is computed by the norm that reads it, and stored for the residual.
// CHECK-LABEL: @norm_takes_the_residual_sum
// CHECK: %[[S:.*]]:2 = rt.launch @kernel_0
// CHECK-NEXT: %[[M:.*]] = rt.launch @kernel_1(%[[S]]#1, %{{.*}}, %[[S]]#0)
func.func @norm_takes_the_residual_sum(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %g: tensor<8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %s = nn.add %x, %r : tensor<4x8xf32>, tensor<4x8xf32>
  %n = nn.rms_norm %s, %g epsilon 1.0e-6 : tensor<4x8xf32>, tensor<8xf32>
  %m = nn.matmul %n, %w : tensor<4x8xf32>, tensor<8x8xf32>
  %y = nn.add %s, %m : tensor<4x8xf32>, tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// %t depends on what leaves the product, so the sum cannot be part of it.
// CHECK-LABEL: @cycle_is_not_fused
// CHECK-COUNT-3: rt.launch
func.func @cycle_is_not_fused(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %m = nn.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32>
  %t = nn.softmax %m dim 1 : tensor<4x8xf32>
  %u = nn.matmul %t, %w : tensor<4x8xf32>, tensor<8x8xf32>
  %y = nn.sub %m, %u : tensor<4x8xf32>, tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: @reshape_at_the_end_is_a_view
// CHECK-NEXT: rt.launch
// CHECK-NEXT: nn.reshape
// CHECK-NEXT: return
func.func @reshape_at_the_end_is_a_view(%x: tensor<4x8xf32>) -> tensor<1x32xf32> {
  %m = nn.softmax %x dim 1 : tensor<4x8xf32>
  %r = nn.reshape %m : tensor<4x8xf32> to tensor<1x32xf32>
  return %r : tensor<1x32xf32>
}
