// RUN: cleave-opt %s --kernel-split-load --kernel-fuse -split-input-file | FileCheck %s
// RUN: cleave-opt %s --kernel-split-load --kernel-fuse=alignment=16 -split-input-file | FileCheck %s --check-prefix=ALIGNED

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

// -----

// Rows that lie one behind the other are a place: equal parts are one kernel.
// CHECK-LABEL: @parts_of_an_argument_are_views
// CHECK-DAG: %[[A:.*]] = nn.slice %arg0 starts [0, 0] sizes [2, 8]
// CHECK-DAG: %[[B:.*]] = nn.slice %arg0 starts [2, 0] sizes [2, 8]
// CHECK-DAG: rt.launch @kernel_0(%[[A]])
// CHECK-DAG: rt.launch @kernel_0(%[[B]])
// CHECK-NOT: @kernel_1
func.func @parts_of_an_argument_are_views(%x: tensor<4x8xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %a = nn.slice %x starts [0, 0] sizes [2, 8] steps [1, 1] : tensor<4x8xf32>
  %b = nn.slice %x starts [2, 0] sizes [2, 8] steps [1, 1] : tensor<4x8xf32>
  %c = nn.softmax %a dim 1 : tensor<2x8xf32>
  %d = nn.softmax %b dim 1 : tensor<2x8xf32>
  return %c, %d : tensor<2x8xf32>, tensor<2x8xf32>
}

// -----

// So are parts of what two kernels read; behind a reshape too.
// CHECK-LABEL: @parts_of_what_is_stored_are_views
// CHECK: %[[E:.*]] = rt.launch @kernel_0(%arg0)
// CHECK-COUNT-2: nn.reshape %[[E]]
// CHECK: %[[A:.*]] = nn.slice {{.*}} starts [1, 1, 0] sizes [1, 1, 8]
// CHECK: %[[B:.*]] = nn.slice {{.*}} starts [0, 0, 0] sizes [1, 1, 8]
// CHECK-NEXT: rt.launch @kernel_1(%[[A]])
// CHECK-NEXT: rt.launch @kernel_1(%[[B]])
// CHECK-NOT: @kernel_2
func.func @parts_of_what_is_stored_are_views(%x: tensor<4x8xf32>) -> (tensor<1x1x8xf32>, tensor<1x1x8xf32>) {
  %e = nn.exp %x : tensor<4x8xf32>
  %r = nn.reshape %e : tensor<4x8xf32> to tensor<2x2x8xf32>
  %a = nn.slice %r starts [1, 1, 0] sizes [1, 1, 8] steps [1, 1, 1] : tensor<2x2x8xf32>
  %b = nn.slice %r starts [0, 0, 0] sizes [1, 1, 8] steps [1, 1, 1] : tensor<2x2x8xf32>
  %c = nn.softmax %a dim 2 : tensor<1x1x8xf32>
  %d = nn.softmax %b dim 2 : tensor<1x1x8xf32>
  return %c, %d : tensor<1x1x8xf32>, tensor<1x1x8xf32>
}

// -----

// What only the part needs is not computed in full; and what is not in one piece is
// picked where it is read.
// CHECK-LABEL: @other_parts_stay_in_kernels
// CHECK-NEXT: rt.launch @kernel_0(%arg0)
// CHECK-NEXT: rt.launch @kernel_1(%arg1)
// CHECK-NEXT: return
func.func @other_parts_stay_in_kernels(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>) -> (tensor<2x8xf32>, tensor<4x4xf32>) {
  %e = nn.exp %x : tensor<4x8xf32>
  %a = nn.slice %e starts [2, 0] sizes [2, 8] steps [1, 1] : tensor<4x8xf32>
  %c = nn.softmax %a dim 1 : tensor<2x8xf32>
  %b = nn.slice %y starts [0, 4] sizes [4, 4] steps [1, 1] : tensor<4x8xf32>
  %d = nn.softmax %b dim 1 : tensor<4x4xf32>
  return %c, %d : tensor<2x8xf32>, tensor<4x4xf32>
}

// -----

// Where a part begins that is not in one piece is no part of a kernel either.
// CHECK-LABEL: @parts_of_one_size_are_one_kernel
// CHECK: nn.slice {{.*}} starts [0] sizes [18]
// CHECK: rt.launch @kernel_0(
// CHECK: nn.slice {{.*}} starts [4] sizes [18]
// CHECK: rt.launch @kernel_0(
// CHECK-NOT: @kernel_1
// CHECK: func private @kernel_0(%{{.*}}: tensor<18xf32>)
// CHECK: nn.pad %{{.*}} low [0] high [6]
// CHECK: nn.slice {{.*}} starts [0, 0, 0] sizes [3, 1, 2]
func.func @parts_of_one_size_are_one_kernel(%x: tensor<3x4x2xf32>) -> (tensor<3x1x2xf32>, tensor<3x1x2xf32>) {
  %a = nn.slice %x starts [0, 0, 0] sizes [3, 1, 2] steps [1, 1, 1] : tensor<3x4x2xf32>
  %b = nn.slice %x starts [0, 2, 0] sizes [3, 1, 2] steps [1, 1, 1] : tensor<3x4x2xf32>
  %c = nn.neg %a : tensor<3x1x2xf32>
  %d = nn.neg %b : tensor<3x1x2xf32>
  return %c, %d : tensor<3x1x2xf32>, tensor<3x1x2xf32>
}

// -----

// A part of a part is a part.
// CHECK-LABEL: @parts_of_parts_are_views
// CHECK: %[[A:.*]] = nn.slice %arg0 starts [1, 2, 0] sizes [1, 1, 2]
// CHECK: rt.launch @kernel_0(%[[A]])
func.func @parts_of_parts_are_views(%x: tensor<3x4x2xf32>) -> tensor<1x1x2xf32> {
  %a = nn.slice %x starts [0, 2, 0] sizes [3, 1, 2] steps [1, 1, 1] : tensor<3x4x2xf32>
  %b = nn.slice %a starts [1, 0, 0] sizes [1, 1, 2] steps [1, 1, 1] : tensor<3x1x2xf32>
  %c = nn.softmax %b dim 2 : tensor<1x1x2xf32>
  return %c : tensor<1x1x2xf32>
}

// -----

// A table whose parts are read is stored once, here for good.
// CHECK-LABEL: @parts_of_a_constant_are_views
// CHECK: return %{{.*}}, %{{.*}} : tensor<2xi64>, tensor<2xi64>
// CHECK: %[[T:.*]] = rt.launch @kernel_1()
// CHECK: nn.slice %[[T]] starts [0] sizes [2]
// CHECK: nn.slice %[[T]] starts [2] sizes [2]
// CHECK-NOT: @kernel_2
func.func @parts_of_a_constant_are_views(%x: tensor<2xi64>) -> (tensor<2xi64>, tensor<2xi64>) {
  %t = nn.constant dense<[3, 1, 4, 1]> : tensor<4xi64>
  %a = nn.slice %t starts [0] sizes [2] steps [1] : tensor<4xi64>
  %b = nn.slice %t starts [2] sizes [2] steps [1] : tensor<4xi64>
  %c = nn.add %x, %a : tensor<2xi64>, tensor<2xi64>
  %d = nn.add %x, %b : tensor<2xi64>, tensor<2xi64>
  return %c, %d : tensor<2xi64>, tensor<2xi64>
}

// -----

// Where vectors are loaded whole, a part between them is code.
// CHECK-LABEL: @part_at_an_odd_place
// CHECK: %[[A:.*]] = nn.slice %arg0 starts [1] sizes [4]
// CHECK: rt.launch @kernel_0(%[[A]])
// ALIGNED-LABEL: @part_at_an_odd_place
// ALIGNED-NEXT: rt.launch @kernel_0(%arg0)
func.func @part_at_an_odd_place(%x: tensor<8xf32>) -> tensor<4xf32> {
  %a = nn.slice %x starts [1] sizes [4] steps [1] : tensor<8xf32>
  %b = nn.softmax %a dim 0 : tensor<4xf32>
  return %b : tensor<4xf32>
}

// Two products with one dequantised weight compute it each, and nobody stores it.
// CHECK-LABEL: @widened_weights_are_computed_where_they_are_read
// CHECK-COUNT-2: rt.launch @[[K:.*]](
// CHECK-NOT: rt.launch
// CHECK: return
func.func @widened_weights_are_computed_where_they_are_read(%x: tensor<2x64xf32>, %y: tensor<2x64xf32>, %w: tensor<64x96xi8> {rt.param}) -> (tensor<2x96xf32>, tensor<2x96xf32>) attributes {rt.load = @widened_load} {
  %f = nn.cast %w : tensor<64x96xi8> to tensor<64x96xf32>
  %a = nn.matmul %x, %f : tensor<2x64xf32>, tensor<64x96xf32>
  %b = nn.matmul %y, %f : tensor<2x64xf32>, tensor<64x96xf32>
  return %a, %b : tensor<2x96xf32>, tensor<2x96xf32>
}
func.func private @widened_load() -> tensor<64x96xi8> {
  %w = nn.weight "w" in "m.bin" at 0 length 6144 : tensor<64x96xi8>
  return %w : tensor<64x96xi8>
}

// Scales too, however many columns have one in common.
// CHECK-LABEL: @widened_scales_are_computed_where_they_are_read
// CHECK-COUNT-1: rt.launch @[[K:.*]](
// CHECK-NOT: rt.launch
// CHECK: return
func.func @widened_scales_are_computed_where_they_are_read(%x: tensor<2x64xf32>, %w: tensor<64x96xi8> {rt.param}, %s: tensor<64x1xf16> {rt.param}) -> tensor<2x96xf32> attributes {rt.load = @scales_load} {
  %f = nn.cast %w : tensor<64x96xi8> to tensor<64x96xf32>
  %g = nn.cast %s : tensor<64x1xf16> to tensor<64x1xf32>
  %d = nn.mul %f, %g : tensor<64x96xf32>, tensor<64x1xf32>
  %a = nn.matmul %x, %d : tensor<2x64xf32>, tensor<64x96xf32>
  return %a : tensor<2x96xf32>
}
func.func private @scales_load() -> (tensor<64x96xi8>, tensor<64x1xf16>) {
  %w = nn.weight "w" in "m.bin" at 0 length 6144 : tensor<64x96xi8>
  %s = nn.weight "s" in "m.bin" at 6144 length 128 : tensor<64x1xf16>
  return %w, %s : tensor<64x96xi8>, tensor<64x1xf16>
}
