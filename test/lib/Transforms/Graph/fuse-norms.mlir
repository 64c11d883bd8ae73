// RUN: cleave-opt %s --graph-fuse-norms --canonicalize | FileCheck %s

// CHECK-LABEL: @root_mean_square
func.func @root_mean_square(%x: tensor<2x8xf32>, %w: tensor<8xf32>) -> tensor<2x8xf32> {
  // CHECK: %[[Y:.*]] = nn.rms_norm %arg0, %arg1 epsilon
  // CHECK-NEXT: return %[[Y]]
  %e = nn.constant dense<1.0e-05> : tensor<f32>
  %s = nn.mul %x, %x : tensor<2x8xf32>, tensor<2x8xf32>
  %m = nn.reduce mean %s dims [1] : tensor<2x8xf32>
  %a = nn.add %m, %e : tensor<2x1xf32>, tensor<f32>
  %q = nn.sqrt %a : tensor<2x1xf32>
  %n = nn.div %x, %q : tensor<2x8xf32>, tensor<2x1xf32>
  %y = nn.mul %n, %w : tensor<2x8xf32>, tensor<8xf32>
  return %y : tensor<2x8xf32>
}

// Divided by the mean square itself, not by its root.
// CHECK-LABEL: @near_miss_stays
func.func @near_miss_stays(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  // CHECK-NOT: nn.rms_norm
  // CHECK: nn.div
  %e = nn.constant dense<1.0e-05> : tensor<f32>
  %s = nn.mul %x, %x : tensor<2x8xf32>, tensor<2x8xf32>
  %m = nn.reduce mean %s dims [1] : tensor<2x8xf32>
  %a = nn.add %m, %e : tensor<2x1xf32>, tensor<f32>
  %n = nn.div %x, %a : tensor<2x8xf32>, tensor<2x1xf32>
  return %n : tensor<2x8xf32>
}
