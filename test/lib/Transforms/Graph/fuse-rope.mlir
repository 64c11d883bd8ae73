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

// CHECK-LABEL: @halves_by_parts
func.func @halves_by_parts(%x: tensor<2x3x4xf32>, %c: tensor<3x2xf32>, %s: tensor<3x2xf32>) -> tensor<2x3x4xf32> {
  // CHECK: nn.rope %arg0, %arg1, %arg2
  // CHECK-NEXT: return
  %a = nn.slice %x starts [0, 0, 0] sizes [2, 3, 2] steps [1, 1, 1] : tensor<2x3x4xf32>
  %b = nn.slice %x starts [0, 0, 2] sizes [2, 3, 2] steps [1, 1, 1] : tensor<2x3x4xf32>
  %ac = nn.mul %c, %a : tensor<3x2xf32>, tensor<2x3x2xf32>
  %bs = nn.mul %b, %s : tensor<2x3x2xf32>, tensor<3x2xf32>
  %bc = nn.mul %b, %c : tensor<2x3x2xf32>, tensor<3x2xf32>
  %as = nn.mul %a, %s : tensor<2x3x2xf32>, tensor<3x2xf32>
  %f = nn.sub %ac, %bs : tensor<2x3x2xf32>, tensor<2x3x2xf32>
  %g = nn.add %as, %bc : tensor<2x3x2xf32>, tensor<2x3x2xf32>
  %y = nn.concat %f, %g axis 2 : tensor<2x3x2xf32>, tensor<2x3x2xf32>
  return %y : tensor<2x3x4xf32>
}

// Pairs side by side, taken by steps and put back by a reshape.
// CHECK-LABEL: @interleaved
func.func @interleaved(%x: tensor<2x3x4xf32>, %c: tensor<3x2xf32>, %s: tensor<3x2xf32>) -> tensor<2x3x4xf32> {
  // CHECK: nn.rope %arg0, %arg1, %arg2 interleaved
  // CHECK-NEXT: return
  %a = nn.slice %x starts [0, 0, 0] sizes [2, 3, 2] steps [1, 1, 2] : tensor<2x3x4xf32>
  %b = nn.slice %x starts [0, 0, 1] sizes [2, 3, 2] steps [1, 1, 2] : tensor<2x3x4xf32>
  %ac = nn.mul %a, %c : tensor<2x3x2xf32>, tensor<3x2xf32>
  %bs = nn.mul %b, %s : tensor<2x3x2xf32>, tensor<3x2xf32>
  %bc = nn.mul %b, %c : tensor<2x3x2xf32>, tensor<3x2xf32>
  %as = nn.mul %a, %s : tensor<2x3x2xf32>, tensor<3x2xf32>
  %f = nn.sub %ac, %bs : tensor<2x3x2xf32>, tensor<2x3x2xf32>
  %g = nn.add %bc, %as : tensor<2x3x2xf32>, tensor<2x3x2xf32>
  %f1 = nn.reshape %f : tensor<2x3x2xf32> to tensor<2x3x2x1xf32>
  %g1 = nn.reshape %g : tensor<2x3x2xf32> to tensor<2x3x2x1xf32>
  %p = nn.concat %f1, %g1 axis 3 : tensor<2x3x2x1xf32>, tensor<2x3x2x1xf32>
  %y = nn.reshape %p : tensor<2x3x2x2xf32> to tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// Each number of the table twice, side by side; pairs split by a reshape.
// CHECK-LABEL: @interleaved_tables
func.func @interleaved_tables(%x: tensor<3x4xf32>, %f: tensor<3x2xf32>) -> tensor<3x4xf32> {
  // CHECK: %[[C:.*]] = nn.slice %{{.*}} starts [0, 0] sizes [3, 2] steps [1, 2]
  // CHECK: %[[S:.*]] = nn.slice %{{.*}} starts [0, 0] sizes [3, 2] steps [1, 2]
  // CHECK: nn.rope %arg0, %[[C]], %[[S]] interleaved
  %f1 = nn.reshape %f : tensor<3x2xf32> to tensor<3x2x1xf32>
  %f2 = nn.broadcast %f1 : tensor<3x2x1xf32> to tensor<3x2x2xf32>
  %d = nn.reshape %f2 : tensor<3x2x2xf32> to tensor<3x4xf32>
  %c = nn.cos %d : tensor<3x4xf32>
  %s = nn.sin %d : tensor<3x4xf32>
  %p = nn.reshape %x : tensor<3x4xf32> to tensor<3x2x2xf32>
  %a = nn.slice %p starts [0, 0, 0] sizes [3, 2, 1] steps [1, 1, 1] : tensor<3x2x2xf32>
  %b = nn.slice %p starts [0, 0, 1] sizes [3, 2, 1] steps [1, 1, 1] : tensor<3x2x2xf32>
  %n = nn.neg %b : tensor<3x2x1xf32>
  %q = nn.concat %n, %a axis 2 : tensor<3x2x1xf32>, tensor<3x2x1xf32>
  %r = nn.reshape %q : tensor<3x2x2xf32> to tensor<3x4xf32>
  %u = nn.mul %x, %c : tensor<3x4xf32>, tensor<3x4xf32>
  %v = nn.mul %r, %s : tensor<3x4xf32>, tensor<3x4xf32>
  %y = nn.add %v, %u : tensor<3x4xf32>, tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}

// The upper lanes pass.
// CHECK-LABEL: @in_part
func.func @in_part(%x: tensor<2x3x6xf32>, %c: tensor<3x1xf32>, %s: tensor<3x1xf32>) -> tensor<2x3x6xf32> {
  // CHECK: nn.rope %arg0, %arg1, %arg2
  // CHECK-NEXT: return
  %a = nn.slice %x starts [0, 0, 0] sizes [2, 3, 1] steps [1, 1, 1] : tensor<2x3x6xf32>
  %b = nn.slice %x starts [0, 0, 1] sizes [2, 3, 1] steps [1, 1, 1] : tensor<2x3x6xf32>
  %rest = nn.slice %x starts [0, 0, 2] sizes [2, 3, 4] steps [1, 1, 1] : tensor<2x3x6xf32>
  %ac = nn.mul %a, %c : tensor<2x3x1xf32>, tensor<3x1xf32>
  %bs = nn.mul %b, %s : tensor<2x3x1xf32>, tensor<3x1xf32>
  %bc = nn.mul %b, %c : tensor<2x3x1xf32>, tensor<3x1xf32>
  %as = nn.mul %a, %s : tensor<2x3x1xf32>, tensor<3x1xf32>
  %f = nn.sub %ac, %bs : tensor<2x3x1xf32>, tensor<2x3x1xf32>
  %g = nn.add %bc, %as : tensor<2x3x1xf32>, tensor<2x3x1xf32>
  %y = nn.concat %f, %g, %rest axis 2 : tensor<2x3x1xf32>, tensor<2x3x1xf32>, tensor<2x3x4xf32>
  return %y : tensor<2x3x6xf32>
}

// CHECK-LABEL: @backwards
func.func @backwards(%x: tensor<3x4xf32>, %c: tensor<3x2xf32>, %s: tensor<3x2xf32>) -> tensor<3x4xf32> {
  // CHECK: %[[S:.*]] = nn.neg %arg2
  // CHECK: nn.rope %arg0, %arg1, %[[S]]
  %a = nn.slice %x starts [0, 0] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %b = nn.slice %x starts [0, 2] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %ac = nn.mul %a, %c : tensor<3x2xf32>, tensor<3x2xf32>
  %bs = nn.mul %b, %s : tensor<3x2xf32>, tensor<3x2xf32>
  %bc = nn.mul %b, %c : tensor<3x2xf32>, tensor<3x2xf32>
  %as = nn.mul %a, %s : tensor<3x2xf32>, tensor<3x2xf32>
  %f = nn.add %ac, %bs : tensor<3x2xf32>, tensor<3x2xf32>
  %g = nn.sub %bc, %as : tensor<3x2xf32>, tensor<3x2xf32>
  %y = nn.concat %f, %g axis 1 : tensor<3x2xf32>, tensor<3x2xf32>
  return %y : tensor<3x4xf32>
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

// No rotation: both halves are added with one sign.
// CHECK-LABEL: @mirrored_stays
func.func @mirrored_stays(%x: tensor<3x4xf32>, %c: tensor<3x2xf32>, %s: tensor<3x2xf32>) -> tensor<3x4xf32> {
  // CHECK-NOT: nn.rope
  %a = nn.slice %x starts [0, 0] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %b = nn.slice %x starts [0, 2] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %ac = nn.mul %a, %c : tensor<3x2xf32>, tensor<3x2xf32>
  %bs = nn.mul %b, %s : tensor<3x2xf32>, tensor<3x2xf32>
  %bc = nn.mul %b, %c : tensor<3x2xf32>, tensor<3x2xf32>
  %as = nn.mul %a, %s : tensor<3x2xf32>, tensor<3x2xf32>
  %f = nn.add %ac, %bs : tensor<3x2xf32>, tensor<3x2xf32>
  %g = nn.add %bc, %as : tensor<3x2xf32>, tensor<3x2xf32>
  %y = nn.concat %f, %g axis 1 : tensor<3x2xf32>, tensor<3x2xf32>
  return %y : tensor<3x4xf32>
}

// Tables with cos of one lane and sin of the other.
// CHECK-LABEL: @crossed_tables_stay
func.func @crossed_tables_stay(%x: tensor<3x4xf32>, %c: tensor<3x2xf32>, %s: tensor<3x2xf32>, %t: tensor<3x2xf32>) -> tensor<3x4xf32> {
  // CHECK-NOT: nn.rope
  %a = nn.slice %x starts [0, 0] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %b = nn.slice %x starts [0, 2] sizes [3, 2] steps [1, 1] : tensor<3x4xf32>
  %ac = nn.mul %a, %c : tensor<3x2xf32>, tensor<3x2xf32>
  %bs = nn.mul %b, %s : tensor<3x2xf32>, tensor<3x2xf32>
  %bc = nn.mul %b, %t : tensor<3x2xf32>, tensor<3x2xf32>
  %as = nn.mul %a, %s : tensor<3x2xf32>, tensor<3x2xf32>
  %f = nn.sub %ac, %bs : tensor<3x2xf32>, tensor<3x2xf32>
  %g = nn.add %bc, %as : tensor<3x2xf32>, tensor<3x2xf32>
  %y = nn.concat %f, %g axis 1 : tensor<3x2xf32>, tensor<3x2xf32>
  return %y : tensor<3x4xf32>
}

// The halves of these tables are equal lanes of different rows.
// CHECK-LABEL: @halves_of_other_rows_stay
func.func @halves_of_other_rows_stay(%x: tensor<2x4xf32>, %f: tensor<2x2xf32>) -> tensor<2x4xf32> {
  // CHECK-NOT: nn.rope
  %a = nn.slice %f starts [0, 0] sizes [1, 2] steps [1, 1] : tensor<2x2xf32>
  %b = nn.slice %f starts [1, 0] sizes [1, 2] steps [1, 1] : tensor<2x2xf32>
  %d = nn.concat %a, %b axis 1 : tensor<1x2xf32>, tensor<1x2xf32>
  %c = nn.cos %d : tensor<1x4xf32>
  %s = nn.sin %d : tensor<1x4xf32>
  %l = nn.slice %x starts [0, 0] sizes [2, 2] steps [1, 1] : tensor<2x4xf32>
  %h = nn.slice %x starts [0, 2] sizes [2, 2] steps [1, 1] : tensor<2x4xf32>
  %n = nn.neg %h : tensor<2x2xf32>
  %r = nn.concat %n, %l axis 1 : tensor<2x2xf32>, tensor<2x2xf32>
  %u = nn.mul %x, %c : tensor<2x4xf32>, tensor<1x4xf32>
  %v = nn.mul %r, %s : tensor<2x4xf32>, tensor<1x4xf32>
  %y = nn.add %u, %v : tensor<2x4xf32>, tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
