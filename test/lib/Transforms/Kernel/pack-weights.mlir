// RUN: cleave-opt %s --kernel-split-load --kernel-pack-weights | FileCheck %s
// RUN: cleave-opt %s --kernel-split-load --kernel-pack-weights="lanes=8" \
// RUN:   | FileCheck %s --check-prefix=NARROW
// RUN: cleave-opt %s --kernel-split-load --kernel-pack-weights="turn-bytes" \
// RUN:   | FileCheck %s --check-prefix=TURNED
// RUN: cleave-opt %s --kernel-split-load --kernel-pack-weights="byte-dots" \
// RUN:   | FileCheck %s --check-prefix=DOTS

// CHECK-LABEL: @widest_panel_that_divides
// CHECK-SAME: %[[P:[a-z0-9]+]]: tensor<2x5x48xf32> {rt.param}
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[P]] [1, 0, 2]
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[T]]
// CHECK-SAME: to tensor<5x96xf32>
// CHECK-NEXT: nn.matmul %{{.*}}, %[[R]]
// CHECK: func private @widest_panel_that_divides_load
// CHECK-NEXT: nn.weight
// CHECK-NEXT: nn.reshape
// CHECK-SAME: to tensor<5x2x48xf32>
// CHECK-NEXT: nn.transpose
// NARROW-LABEL: @widest_panel_that_divides
// NARROW-SAME: tensor<4x5x24xf32> {rt.param}
func.func @widest_panel_that_divides(%x: tensor<2x5xf32>) -> tensor<2x96xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 1920 : tensor<5x96xf32>
  %y = nn.matmul %x, %w : tensor<2x5xf32>, tensor<5x96xf32>
  return %y : tensor<2x96xf32>
}

// CHECK-LABEL: @ragged_columns_are_padded
// CHECK-SAME: tensor<1x5x16xf32> {rt.param}
// CHECK: nn.slice
// CHECK-SAME: sizes [5, 10]
// CHECK: func private @ragged_columns_are_padded_load
// CHECK: nn.pad
// NARROW-LABEL: @ragged_columns_are_padded
func.func @ragged_columns_are_padded(%x: tensor<2x5xf32>) -> tensor<2x10xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 200 : tensor<5x10xf32>
  %y = nn.matmul %x, %w : tensor<2x5xf32>, tensor<5x10xf32>
  return %y : tensor<2x10xf32>
}

// A table that is also gathered from lies in the file once.
// CHECK-LABEL: @weight_with_another_use_stays
// CHECK-NOT: rt.param
func.func @weight_with_another_use_stays(%x: tensor<2x5xf32>, %i: tensor<3xi64>) -> (tensor<2x96xf32>, tensor<3x96xf32>) {
  %w = nn.weight "w" in "m.bin" at 0 length 1920 : tensor<5x96xf32>
  %y = nn.matmul %x, %w : tensor<2x5xf32>, tensor<5x96xf32>
  %z = nn.gather %w, %i axis 0 : tensor<5x96xf32>, tensor<3xi64>
  return %y, %z : tensor<2x96xf32>, tensor<3x96xf32>
}

// Halves that a product reads as f32 are panels of halves.
// CHECK-LABEL: @weight_that_is_widened
// CHECK-SAME: tensor<8x256x48xf16> {rt.param}
// CHECK: nn.cast %{{.*}} : tensor<256x384xf16> to tensor<256x384xf32>
// CHECK: nn.matmul
// NARROW-LABEL: @weight_that_is_widened
func.func @weight_that_is_widened(%x: tensor<2x256xf32>) -> tensor<2x384xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 196608 : tensor<256x384xf16>
  %f = nn.cast %w : tensor<256x384xf16> to tensor<256x384xf32>
  %y = nn.matmul %x, %f : tensor<2x256xf32>, tensor<256x384xf32>
  return %y : tensor<2x384xf32>
}

// Columns of what bytes become lie together, in panels: the transpose is in front of the
// arithmetic.
// CHECK-LABEL: @dequantised_weight_is_turned
// CHECK-SAME: %[[W:[a-z0-9]+]]: tensor<8x256x48xi8> {rt.param}, %[[S:[a-z0-9]+]]: tensor<1x384xf32> {rt.param}
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[W]] [1, 0, 2]
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[T]]
// CHECK-NEXT: %[[F:.*]] = nn.cast %[[R]]
// CHECK-NEXT: %[[D:.*]] = nn.mul %[[F]], %[[S]]
// CHECK-NEXT: nn.matmul %{{.*}}, %[[D]]
// CHECK: func private @dequantised_weight_is_turned_load
// CHECK-COUNT-3: nn.transpose
// NARROW-LABEL: @dequantised_weight_is_turned
func.func @dequantised_weight_is_turned(%x: tensor<2x256xf32>) -> tensor<2x384xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 98304 : tensor<384x256xi8>
  %s = nn.weight "s" in "m.bin" at 98304 length 1536 : tensor<384x1xf32>
  %f = nn.cast %w : tensor<384x256xi8> to tensor<384x256xf32>
  %d = nn.mul %f, %s : tensor<384x256xf32>, tensor<384x1xf32>
  %t = nn.transpose %d [1, 0] : tensor<384x256xf32>
  %y = nn.matmul %x, %t : tensor<2x256xf32>, tensor<256x384xf32>
  return %y : tensor<2x384xf32>
}

// Bytes of nibbles, and the scales of their blocks, whose last dimension of one is new.
// CHECK-LABEL: @weight_of_four_bits_lies_in_panels
// CHECK-SAME: %[[W:[a-z0-9]+]]: tensor<8x256x48xui8> {rt.param}, %[[S:[a-z0-9]+]]: tensor<8x16x48xf32> {rt.param}
// CHECK: nn.transpose %[[W]] [1, 0, 2]
// CHECK: %[[F:.*]] = nn.cast %{{.*}} : tensor<16x32x384xui8> to tensor<16x32x384xf32>
// CHECK: nn.transpose %[[S]] [1, 0, 2]
// CHECK: %[[R:.*]] = nn.reshape %{{.*}} to tensor<16x1x384xf32>
// CHECK: nn.mul %[[F]], %[[R]]
// CHECK-NEXT: %[[B:.*]] = nn.reshape
// CHECK-NEXT: nn.matmul %{{.*}}, %[[B]]
// CHECK: func private @weight_of_four_bits_lies_in_panels_load
// NARROW-LABEL: @weight_of_four_bits_lies_in_panels
// NARROW-SAME: tensor<16x256x24xui8> {rt.param}
func.func @weight_of_four_bits_lies_in_panels(%x: tensor<2x512xf32>) -> tensor<2x384xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 98304 : tensor<384x256x1xui8>
  %s = nn.weight "s" in "m.bin" at 98304 length 24576 : tensor<384x16xf32>
  %p = nn.constant dense<[1, 16]> : tensor<2xui8>
  %m = nn.constant dense<16> : tensor<ui8>
  %a = nn.div %w, %p : tensor<384x256x1xui8>, tensor<2xui8>
  %b = nn.rem %a, %m : tensor<384x256x2xui8>, tensor<ui8>
  %q = nn.reshape %b : tensor<384x256x2xui8> to tensor<384x16x32xui8>
  %f = nn.cast %q : tensor<384x16x32xui8> to tensor<384x16x32xf32>
  %r = nn.reshape %s : tensor<384x16xf32> to tensor<384x16x1xf32>
  %d = nn.mul %f, %r : tensor<384x16x32xf32>, tensor<384x16x1xf32>
  %g = nn.reshape %d : tensor<384x16x32xf32> to tensor<384x512xf32>
  %t = nn.transpose %g [1, 0] : tensor<384x512xf32>
  %y = nn.matmul %x, %t : tensor<2x512xf32>, tensor<512x384xf32>
  return %y : tensor<2x384xf32>
}

// Bytes that lie as [K, N] in the file, and what is gathered from as well.
// CHECK-LABEL: @bytes_of_columns_lie_in_panels
// CHECK-SAME: %{{[a-z0-9]+}}: tensor<8x256x48xi8> {rt.param})
// CHECK: nn.weight "v"
// CHECK-NEXT: nn.weight "s"
// NARROW-LABEL: @bytes_of_columns_lie_in_panels
func.func @bytes_of_columns_lie_in_panels(%x: tensor<2x256xf32>, %i: tensor<3xi64>) -> (tensor<2x384xf32>, tensor<2x384xf32>, tensor<3x384xi8>) {
  %w = nn.weight "w" in "m.bin" at 0 length 98304 : tensor<256x384xi8>
  %v = nn.weight "v" in "m.bin" at 98304 length 98304 : tensor<256x384xi8>
  %s = nn.weight "s" in "m.bin" at 196608 length 1536 : tensor<384xf32>
  %f = nn.cast %w : tensor<256x384xi8> to tensor<256x384xf32>
  %g = nn.cast %v : tensor<256x384xi8> to tensor<256x384xf32>
  %a = nn.mul %f, %s : tensor<256x384xf32>, tensor<384xf32>
  %b = nn.mul %g, %s : tensor<256x384xf32>, tensor<384xf32>
  %y = nn.matmul %x, %a : tensor<2x256xf32>, tensor<256x384xf32>
  %z = nn.matmul %x, %b : tensor<2x256xf32>, tensor<256x384xf32>
  %r = nn.gather %v, %i axis 0 : tensor<256x384xi8>, tensor<3xi64>
  return %y, %z, %r : tensor<2x384xf32>, tensor<2x384xf32>, tensor<3x384xi8>
}

// CHECK-LABEL: @bytes_are_turned
// CHECK-SAME: (%{{.*}}: tensor<2x32xi8>) ->
// NARROW-LABEL: @bytes_are_turned
// TURNED-LABEL: @bytes_are_turned
// TURNED-SAME: %[[P:[a-z0-9]+]]: tensor<96x32xui8> {rt.param}
// TURNED-NEXT: %[[T:.*]] = nn.transpose %[[P]] [1, 0]
// TURNED-NEXT: nn.matmul %{{.*}}, %[[T]]
// TURNED: func private @bytes_are_turned_load
// TURNED-NEXT: nn.weight
// TURNED-NEXT: nn.transpose %{{.*}} [1, 0]
func.func @bytes_are_turned(%x: tensor<2x32xi8>) -> tensor<2x96xi32> {
  %w = nn.weight "w" in "m.bin" at 0 length 3072 : tensor<32x96xui8>
  %y = nn.matmul %x, %w : tensor<2x32xi8>, tensor<32x96xui8>
  return %y : tensor<2x96xi32>
}

// Four bytes of a column lie together where both sides are of the kinds that are multiplied so.
// DOTS-LABEL: @bytes_lie_in_fours
// DOTS-SAME: %[[P:[a-z0-9]+]]: tensor<2x8x48x4xi8> {rt.param}
// DOTS-NEXT: nn.weight "v"
// DOTS-NEXT: %[[T:.*]] = nn.transpose %[[P]] [1, 3, 0, 2]
// DOTS-NEXT: %[[R:.*]] = nn.reshape %[[T]]
// DOTS-SAME: to tensor<32x96xi8>
// DOTS-NEXT: nn.matmul %{{.*}}, %[[R]]
// DOTS: func private @bytes_lie_in_fours_load
// DOTS: nn.transpose %{{.*}} [2, 0, 3, 1]
func.func @bytes_lie_in_fours(%x: tensor<2x32xui8>) -> (tensor<2x96xi32>, tensor<2x96xi32>) {
  %w = nn.weight "w" in "m.bin" at 0 length 3072 : tensor<32x96xi8>
  %v = nn.weight "v" in "m.bin" at 3072 length 3072 : tensor<32x96xui8>
  %y = nn.matmul %x, %w : tensor<2x32xui8>, tensor<32x96xi8>
  %z = nn.matmul %x, %v : tensor<2x32xui8>, tensor<32x96xui8>
  return %y, %z : tensor<2x96xi32>, tensor<2x96xi32>
}

// CHECK-LABEL: @floats_of_bytes_are_turned
// NARROW-LABEL: @floats_of_bytes_are_turned
// TURNED-LABEL: @floats_of_bytes_are_turned
// TURNED-SAME: %[[P:[a-z0-9]+]]: tensor<96x32xf8E5M2> {rt.param}
// TURNED-NEXT: %[[T:.*]] = nn.transpose %[[P]] [1, 0]
// TURNED-NEXT: nn.matmul %{{.*}}, %[[T]]
// TURNED: func private @floats_of_bytes_are_turned_load
func.func @floats_of_bytes_are_turned(%x: tensor<2x32xf8E4M3FN>) -> tensor<2x96xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 3072 : tensor<32x96xf8E5M2>
  %y = nn.matmul %x, %w : tensor<2x32xf8E4M3FN>, tensor<32x96xf8E5M2>
  return %y : tensor<2x96xf32>
}

// CHECK-LABEL: @numbers_stay_where_bytes_turn
// NARROW-LABEL: @numbers_stay_where_bytes_turn
// TURNED-LABEL: @numbers_stay_where_bytes_turn
// TURNED-NEXT: nn.weight
// TURNED-NEXT: nn.matmul
func.func @numbers_stay_where_bytes_turn(%x: tensor<2x5xf32>) -> tensor<2x96xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 1920 : tensor<5x96xf32>
  %y = nn.matmul %x, %w : tensor<2x5xf32>, tensor<5x96xf32>
  return %y : tensor<2x96xf32>
}
