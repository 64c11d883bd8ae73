// RUN: cleave-opt %s --graph-fuse-rope --canonicalize | FileCheck %s

// CHECK-LABEL: @halves_turned
func.func @halves_turned(%x: tensor<1x2x3x4xf32>, %f: tensor<3x2xf32>) -> tensor<1x2x3x4xf32> {
  // CHECK: nn.rope %arg0
  %d = nn.concat %f, %f axis 1 : tensor<3x2xf32>, tensor<3x2xf32>
  %c = nn.cos %d : tensor<3x4xf32>
  %s = nn.sin %d : tensor<3x4xf32>
  %l = nn.slice %x starts [0, 0, 0, 0] sizes [1, 2, 3, 2] steps [1, 1, 1, 1] : tensor<1x2x3x4xf32>
  %h = nn.slice %x starts [0, 0, 0, 2] sizes [1, 2, 3, 2] steps [1, 1, 1, 1] : tensor<1x2x3x4xf32>
  %n = nn.neg %h : tensor<1x2x3x2xf32>
  %r = nn.concat %n, %l axis 3 : tensor<1x2x3x2xf32>, tensor<1x2x3x2xf32>
  %a = nn.mul %x, %c : tensor<1x2x3x4xf32>, tensor<3x4xf32>
  %b = nn.mul %r, %s : tensor<1x2x3x4xf32>, tensor<3x4xf32>
  %y = nn.add %a, %b : tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>
  return %y : tensor<1x2x3x4xf32>
}

// Nothing says that the halves of these tables are equal.
// CHECK-LABEL: @other_tables_stay
func.func @other_tables_stay(%x: tensor<3x4xf32>, %c: tensor<3x4xf32>, %s: tensor<3x4xf32>) -> tensor<3x4xf32> {
  // CHECK-NOT: nn.rope
  %l = nn.slice %x starts [0, 0] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %h = nn.slice %x starts [0, 2] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %n = nn.neg %h : tensor<3x2xf32>
  %r = nn.concat %n, %l axis 1 : tensor<3x2xf32>, tensor<3x2xf32>
  %a = nn.mul %x, %c : tensor<3x4xf32>, tensor<3x4xf32>
  %b = nn.mul %r, %s : tensor<3x4xf32>, tensor<3x4xf32>
  %y = nn.add %a, %b : tensor<3x4xf32>, tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}
