// RUN: cleave-opt %s --kernel-split-load --kernel-fuse --kernel-plan-memory -split-input-file | FileCheck %s --check-prefixes=CHECK,AFTER
// RUN: cleave-opt %s --kernel-split-load --kernel-fuse --kernel-plan-memory=beside -split-input-file | FileCheck %s --check-prefixes=CHECK,BESIDE

// The first and the third value never live together.
// CHECK-LABEL: @dead_values_give_up_their_place
// CHECK-SAME: rt.arena = 1024
// CHECK: rt.launch {{.*}}arena 0 at 0 length 512
// CHECK-NEXT: rt.launch {{.*}}arena 0 at 512 length 512
// CHECK-NEXT: rt.launch {{.*}}arena 0 at 0 length 512
// CHECK-NEXT: rt.launch {{.*}}output 0 at 0 length 512
func.func @dead_values_give_up_their_place(%x: tensor<8x16xf32>) -> tensor<8x16xf32> {
  %a = nn.softmax %x dim 1 : tensor<8x16xf32>
  %b = nn.softmax %a dim 1 : tensor<8x16xf32>
  %c = nn.softmax %b dim 1 : tensor<8x16xf32>
  %d = nn.softmax %c dim 1 : tensor<8x16xf32>
  return %d : tensor<8x16xf32>
}

// -----

// CHECK-LABEL: @what_leaves_twice_is_copied
// CHECK: %[[A:.*]] = rt.launch {{.*}}output 0
// CHECK-NEXT: %[[B:.*]] = rt.copy %[[A]] {{.*}}output 1
// CHECK-NEXT: %[[C:.*]] = rt.copy %arg0 {{.*}}output 2
// CHECK-NEXT: return %[[A]], %[[B]], %[[C]]
func.func @what_leaves_twice_is_copied(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) {
  %a = nn.neg %x : tensor<8xf32>
  return %a, %a, %x : tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
}

// -----

// CHECK-LABEL: @parameters_are_aligned
// CHECK: func private @parameters_are_aligned_load
// CHECK-SAME: rt.params = 192
// CHECK: param 0 at 0 length 40
// CHECK: param 0 at 64 length 72
func.func @parameters_are_aligned(%x: tensor<2x5xf32>) -> (tensor<2x5xf32>, tensor<2x9xf32>) {
  %v = nn.weight "v" in "m.bin" at 0 length 40 : tensor<5x2xf32>
  %w = nn.weight "w" in "m.bin" at 40 length 72 : tensor<9x2xf32>
  %s = nn.transpose %v [1, 0] : tensor<5x2xf32>
  %t = nn.transpose %w [1, 0] : tensor<9x2xf32>
  %y = nn.add %x, %s : tensor<2x5xf32>, tensor<2x5xf32>
  %z = nn.neg %t : tensor<2x9xf32>
  %u = nn.broadcast %t : tensor<2x9xf32> to tensor<2x9xf32>
  return %y, %u : tensor<2x5xf32>, tensor<2x9xf32>
}

// -----

// What holds a part lives as long as the part is read.
// CHECK-LABEL: @parts_keep_what_holds_them
// CHECK-SAME: rt.arena = 384
// CHECK: rt.launch {{.*}}arena 0 at 0 length 256
// CHECK: rt.launch {{.*}}arena 0 at 256 length 128
// CHECK: rt.launch {{.*}}output 0 at 0 length 128
func.func @parts_keep_what_holds_them(%x: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %a = nn.softmax %x dim 1 : tensor<8x8xf32>
  %b = nn.slice %a starts [4, 0] sizes [4, 8] steps [1, 1] : tensor<8x8xf32>
  %c = nn.softmax %b dim 1 : tensor<4x8xf32>
  %d = nn.add %c, %b : tensor<4x8xf32>, tensor<4x8xf32>
  %e = nn.softmax %d dim 1 : tensor<4x8xf32>
  return %e : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: @a_part_that_leaves_is_copied
// CHECK: %[[A:.*]] = rt.launch {{.*}}arena 0 at 0 length 256
// CHECK-NEXT: %[[B:.*]] = nn.slice %[[A]]
// CHECK-NEXT: %[[C:.*]] = rt.copy %[[B]] {{.*}}output 0 at 0 length 128
// CHECK-NEXT: return %[[C]]
func.func @a_part_that_leaves_is_copied(%x: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %a = nn.softmax %x dim 1 : tensor<8x8xf32>
  %b = nn.slice %a starts [4, 0] sizes [4, 8] steps [1, 1] : tensor<8x8xf32>
  return %b : tensor<4x8xf32>
}

// -----

// What runs beside a collective writes nothing that it still reads: %d may lie where %a
// does only where the gather has ended by then.
// CHECK-LABEL: @gathers_beside
// CHECK: %[[A:.*]] = rt.launch {{.*}}arena 0 at [[PLACE:[0-9]+]] length 512
// CHECK: dist.all_gather
// AFTER: rt.launch {{.*}}arena 0 at [[PLACE]] length 512
// BESIDE-NOT: rt.launch {{.*}}arena 0 at [[PLACE]] length
// CHECK: return
module attributes {dist.mesh = #dist.mesh<"tp"=2>, dist.classes = array<i64: 0, 0>} {
func.func @gathers_beside(%x: tensor<8x16xf32>) -> (tensor<16x16xf32>, tensor<8x16xf32>) {
  %a = nn.softmax %x dim 1 : tensor<8x16xf32>
  %b = nn.softmax %x dim 0 : tensor<8x16xf32>
  %g = dist.all_gather %a dim 0 over ["tp"] counts [8, 8] : tensor<8x16xf32> to tensor<16x16xf32>
  %d = nn.softmax %b dim 1 : tensor<8x16xf32>
  %e = nn.softmax %d dim 1 : tensor<8x16xf32>
  %h = nn.softmax %g dim 1 : tensor<16x16xf32>
  return %h, %e : tensor<16x16xf32>, tensor<8x16xf32>
}
}

// -----

// What kernels want beside their operands: scratch as values have it, and counters that are
// nobody else's, since they are cleared once, in front of all commands.
// CHECK-LABEL: func @counters_share_with_nothing
// CHECK-SAME: rt.arena = 512
// CHECK-SAME: rt.counters = #rt.place<arena 0 at 0 length 128>
// CHECK: rt.launch {{.*}}rt.counters = #rt.place<arena 0 at 0 length 4>{{.*}}arena 0 at 384 length 128{{.*}}rt.scratch = #rt.place<arena 0 at 128 length 256>
// CHECK: rt.launch {{.*}}rt.counters = #rt.place<arena 0 at 64 length 4>{{.*}}rt.scratch = #rt.place<arena 0 at 128 length 256>
func.func @counters_share_with_nothing(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {rt.load = @load} {
  %a = rt.launch @kernel(%x) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %b = rt.launch @kernel(%a) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  return %b : tensor<4x8xf32>
}
func.func private @load() {
  return
}
func.func private @kernel(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {rt.kernel, rt.scratch = 256, rt.counters = 4} {
  %y = nn.neg %x : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
