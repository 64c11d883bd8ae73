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
