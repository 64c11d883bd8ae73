// RUN: cleave-opt %s --graph-fuse-attention --canonicalize | FileCheck %s

// CHECK-LABEL: @scaled_and_masked
func.func @scaled_and_masked(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x5x4xf32>, %v: tensor<1x2x5x4xf32>, %m: tensor<1x1x3x5xf32>) -> tensor<1x2x3x4xf32> {
  // CHECK: nn.attention %arg0, %arg1, %arg2 mask %arg3 : tensor<1x1x3x5xf32> scale 5.000000e-01
  // CHECK-NEXT: return
  %c = nn.constant dense<0.5> : tensor<f32>
  %t = nn.transpose %k [0, 1, 3, 2] : tensor<1x2x5x4xf32>
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %a = nn.mul %s, %c : tensor<1x2x3x5xf32>, tensor<f32>
  %b = nn.add %a, %m : tensor<1x2x3x5xf32>, tensor<1x1x3x5xf32>
  %p = nn.softmax %b dim 3 : tensor<1x2x3x5xf32>
  %y = nn.matmul %p, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  return %y : tensor<1x2x3x4xf32>
}

// CHECK-LABEL: @probabilities_read_elsewhere_stay
func.func @probabilities_read_elsewhere_stay(%q: tensor<1x2x3x4xf32>, %t: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>) -> (tensor<1x2x3x4xf32>, tensor<1x2x3x5xf32>) {
  // CHECK-NOT: nn.attention
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %p = nn.softmax %s dim 3 : tensor<1x2x3x5xf32>
  %y = nn.matmul %p, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  return %y, %p : tensor<1x2x3x4xf32>, tensor<1x2x3x5xf32>
}

// An attention would be no more exact than f32.
// CHECK-LABEL: @doubles_stay
func.func @doubles_stay(%q: tensor<1x2x3x4xf64>, %t: tensor<1x2x4x5xf64>, %v: tensor<1x2x5x4xf64>) -> tensor<1x2x3x4xf64> {
  // CHECK-NOT: nn.attention
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf64>, tensor<1x2x4x5xf64>
  %p = nn.softmax %s dim 3 : tensor<1x2x3x5xf64>
  %y = nn.matmul %p, %v : tensor<1x2x3x5xf64>, tensor<1x2x5x4xf64>
  return %y : tensor<1x2x3x4xf64>
}

// A row of NaN that becomes 0, however that is spelt, is a row without a key.
// CHECK-LABEL: @rows_of_nan_become_zero
func.func @rows_of_nan_become_zero(%q: tensor<1x2x3x4xf32>, %t: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>, %m: tensor<1x1x3x5xf32>) -> (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) {
  // CHECK: nn.attention {{.*}} mask %arg3 : tensor<1x1x3x5xf32> scale 1.000000e+00 :
  // CHECK: nn.attention {{.*}} mask %arg3 : tensor<1x1x3x5xf32> scale 1.000000e+00 :
  // CHECK-NEXT: return
  %zero = nn.constant dense<0.0> : tensor<f32>
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %b = nn.add %s, %m : tensor<1x2x3x5xf32>, tensor<1x1x3x5xf32>
  %p = nn.softmax %b dim 3 : tensor<1x2x3x5xf32>
  %n = nn.is_nan %p : tensor<1x2x3x5xf32>
  %g = nn.select %n, %zero, %p : tensor<1x2x3x5xi1>, tensor<f32>, tensor<1x2x3x5xf32>
  %y = nn.matmul %g, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  %s1 = nn.matmul %y, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %b1 = nn.add %s1, %m : tensor<1x2x3x5xf32>, tensor<1x1x3x5xf32>
  %p1 = nn.softmax %b1 dim 3 : tensor<1x2x3x5xf32>
  %n1 = nn.compare eq %p1, %p1 : tensor<1x2x3x5xf32>, tensor<1x2x3x5xf32>
  %g1 = nn.select %n1, %p1, %zero : tensor<1x2x3x5xi1>, tensor<1x2x3x5xf32>, tensor<f32>
  %z = nn.matmul %g1, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  return %y, %z : tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>
}

// CHECK-LABEL: @rows_of_nan_that_become_something_else_stay
func.func @rows_of_nan_that_become_something_else_stay(%q: tensor<1x2x3x4xf32>, %t: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32> {
  // CHECK-NOT: nn.attention
  // CHECK: return
  %one = nn.constant dense<1.0> : tensor<f32>
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %p = nn.softmax %s dim 3 : tensor<1x2x3x5xf32>
  %n = nn.is_nan %p : tensor<1x2x3x5xf32>
  %g = nn.select %n, %one, %p : tensor<1x2x3x5xi1>, tensor<f32>, tensor<1x2x3x5xf32>
  %y = nn.matmul %g, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  return %y : tensor<1x2x3x4xf32>
}

// The roots of the scale in front of the product, on keys that are repeated.
// CHECK-LABEL: @scaled_operands_of_shared_heads
// CHECK-SAME: (%[[Q:.*]]: tensor<1x4x3x4xf32>, %[[K:.*]]: tensor<1x2x5x4xf32>, %[[V:.*]]: tensor<1x2x5x4xf32>)
func.func @scaled_operands_of_shared_heads(%q: tensor<1x4x3x4xf32>, %k: tensor<1x2x5x4xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x4x3x4xf32> {
  // CHECK: nn.attention %[[Q]], %[[K]], %[[V]] scale 2.500000e-01
  // CHECK-NEXT: return
  %c = nn.constant dense<0.5> : tensor<f32>
  %d = nn.constant dense<2.0> : tensor<f32>
  %q1 = nn.mul %q, %c : tensor<1x4x3x4xf32>, tensor<f32>
  %k1 = nn.reshape %k : tensor<1x2x5x4xf32> to tensor<1x2x1x5x4xf32>
  %k2 = nn.broadcast %k1 : tensor<1x2x1x5x4xf32> to tensor<1x2x2x5x4xf32>
  %k3 = nn.reshape %k2 : tensor<1x2x2x5x4xf32> to tensor<1x4x5x4xf32>
  %k4 = nn.transpose %k3 [0, 1, 3, 2] : tensor<1x4x5x4xf32>
  %k5 = nn.div %k4, %d : tensor<1x4x4x5xf32>, tensor<f32>
  %v1 = nn.reshape %v : tensor<1x2x5x4xf32> to tensor<1x2x1x5x4xf32>
  %v2 = nn.broadcast %v1 : tensor<1x2x1x5x4xf32> to tensor<1x2x2x5x4xf32>
  %v3 = nn.reshape %v2 : tensor<1x2x2x5x4xf32> to tensor<1x4x5x4xf32>
  %s = nn.matmul %q1, %k5 : tensor<1x4x3x4xf32>, tensor<1x4x4x5xf32>
  %p = nn.softmax %s dim 3 : tensor<1x4x3x5xf32>
  %y = nn.matmul %p, %v3 : tensor<1x4x3x5xf32>, tensor<1x4x5x4xf32>
  return %y : tensor<1x4x3x4xf32>
}

// Batch and heads are one dimension while the keys are transposed.
// CHECK-LABEL: @keys_transposed_with_merged_heads
func.func @keys_transposed_with_merged_heads(%q: tensor<2x4x3x4xf32>, %k: tensor<2x4x5x4xf32>, %v: tensor<2x4x5x4xf32>) -> tensor<2x4x3x4xf32> {
  // CHECK: nn.attention %arg0, %arg1, %arg2 scale 1.000000e+00
  // CHECK-NEXT: return
  %k1 = nn.reshape %k : tensor<2x4x5x4xf32> to tensor<8x5x4xf32>
  %k2 = nn.transpose %k1 [0, 2, 1] : tensor<8x5x4xf32>
  %k3 = nn.reshape %k2 : tensor<8x4x5xf32> to tensor<2x4x4x5xf32>
  %s = nn.matmul %q, %k3 : tensor<2x4x3x4xf32>, tensor<2x4x4x5xf32>
  %p = nn.softmax %s dim 3 : tensor<2x4x3x5xf32>
  %y = nn.matmul %p, %v : tensor<2x4x3x5xf32>, tensor<2x4x5x4xf32>
  return %y : tensor<2x4x3x4xf32>
}

// CHECK-LABEL: @capped_and_hidden
func.func @capped_and_hidden(%q: tensor<1x2x3x4xf32>, %t: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>, %m: tensor<1x1x3x5xi1>) -> tensor<1x2x3x4xf32> {
  // CHECK: %[[M:.*]] = nn.select %arg3,
  // CHECK: nn.attention {{.*}} mask %[[M]] : tensor<1x1x3x5xf32> scale 5.000000e-01 softcap 3.000000e+01
  %half = nn.constant dense<0.5> : tensor<f32>
  %cap = nn.constant dense<30.0> : tensor<f32>
  %fill = nn.constant dense<-3.0e38> : tensor<f32>
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %a = nn.mul %s, %half : tensor<1x2x3x5xf32>, tensor<f32>
  %b = nn.div %a, %cap : tensor<1x2x3x5xf32>, tensor<f32>
  %c = nn.tanh %b : tensor<1x2x3x5xf32>
  %d = nn.mul %cap, %c : tensor<f32>, tensor<1x2x3x5xf32>
  %e = nn.select %m, %d, %fill : tensor<1x1x3x5xi1>, tensor<1x2x3x5xf32>, tensor<f32>
  %p = nn.softmax %e dim 3 : tensor<1x2x3x5xf32>
  %y = nn.matmul %p, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  return %y : tensor<1x2x3x4xf32>
}

// A small fill is a score like others.
// CHECK-LABEL: @small_fill_stays
func.func @small_fill_stays(%q: tensor<1x2x3x4xf32>, %t: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>, %m: tensor<1x1x3x5xi1>) -> tensor<1x2x3x4xf32> {
  // CHECK-NOT: nn.attention
  // CHECK: return
  %fill = nn.constant dense<-4.0> : tensor<f32>
  %s = nn.matmul %q, %t : tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>
  %e = nn.select %m, %fill, %s : tensor<1x1x3x5xi1>, tensor<f32>, tensor<1x2x3x5xf32>
  %p = nn.softmax %e dim 3 : tensor<1x2x3x5xf32>
  %y = nn.matmul %p, %v : tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>
  return %y : tensor<1x2x3x4xf32>
}

// A key hidden by both finite masks weighs less than one hidden once, which shows
// where a row sees none: the masks are added.
// CHECK-LABEL: @two_finite_masks
func.func @two_finite_masks(%q: tensor<1x1x2x4xf32>, %t: tensor<1x1x4x2xf32>, %v: tensor<1x1x2x4xf32>, %m: tensor<1x1x1x2xf32>) -> (tensor<1x1x2x4xf32>, tensor<1x1x2x4xf32>) {
  // CHECK: nn.attention {{.*}} scale 1.000000e+00 empty_rows nan :
  // CHECK: nn.attention {{.*}} mask %arg3 : tensor<1x1x1x2xf32> scale 1.000000e+00 causal empty_rows nan :
  %finite = nn.constant dense<[[0.0, -1.0e38], [0.0, 0.0]]> : tensor<2x2xf32>
  %exact = nn.constant dense<[[0.0, 0xFF800000], [0.0, 0.0]]> : tensor<2x2xf32>
  %s = nn.matmul %q, %t : tensor<1x1x2x4xf32>, tensor<1x1x4x2xf32>
  %a = nn.add %s, %finite : tensor<1x1x2x2xf32>, tensor<2x2xf32>
  %b = nn.add %a, %m : tensor<1x1x2x2xf32>, tensor<1x1x1x2xf32>
  %p = nn.softmax %b dim 3 : tensor<1x1x2x2xf32>
  %y = nn.matmul %p, %v : tensor<1x1x2x2xf32>, tensor<1x1x2x4xf32>
  %s1 = nn.matmul %y, %t : tensor<1x1x2x4xf32>, tensor<1x1x4x2xf32>
  %a1 = nn.add %s1, %exact : tensor<1x1x2x2xf32>, tensor<2x2xf32>
  %b1 = nn.add %a1, %m : tensor<1x1x2x2xf32>, tensor<1x1x1x2xf32>
  %p1 = nn.softmax %b1 dim 3 : tensor<1x1x2x2xf32>
  %z = nn.matmul %p1, %v : tensor<1x1x2x2xf32>, tensor<1x1x2x4xf32>
  return %y, %z : tensor<1x1x2x4xf32>, tensor<1x1x2x4xf32>
}
