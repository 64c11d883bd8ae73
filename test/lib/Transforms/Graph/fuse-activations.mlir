// RUN: cleave-opt %s --graph-fuse-activations --canonicalize | FileCheck %s

// CHECK-LABEL: @gelu_by_erf
func.func @gelu_by_erf(%x: tensor<4xf32>) -> tensor<4xf32> {
  // CHECK: nn.gelu erf %arg0
  // CHECK-NEXT: return
  %r = nn.constant dense<1.41421354> : tensor<f32>
  %o = nn.constant dense<1.0> : tensor<f32>
  %h = nn.constant dense<0.5> : tensor<f32>
  %a = nn.div %x, %r : tensor<4xf32>, tensor<f32>
  %b = nn.erf %a : tensor<4xf32>
  %c = nn.add %b, %o : tensor<4xf32>, tensor<f32>
  %d = nn.mul %x, %c : tensor<4xf32>, tensor<4xf32>
  %y = nn.mul %d, %h : tensor<4xf32>, tensor<f32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: @silu
func.func @silu(%x: tensor<4xf32>) -> tensor<4xf32> {
  // CHECK: nn.silu %arg0
  %s = nn.sigmoid %x : tensor<4xf32>
  %y = nn.mul %x, %s : tensor<4xf32>, tensor<4xf32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: @plain_sigmoid_stays
func.func @plain_sigmoid_stays(%x: tensor<4xf32>) -> tensor<4xf32> {
  // CHECK: nn.sigmoid
  %s = nn.sigmoid %x : tensor<4xf32>
  return %s : tensor<4xf32>
}
