// RUN: cleave-opt %s --kernel-split-load | FileCheck %s

// CHECK-LABEL: @transposed_weight_is_a_parameter
// CHECK-SAME: (%[[X:.*]]: tensor<2x4xf32>, %[[P:.*]]: tensor<4x8xf32> {rt.param})
// CHECK-SAME: rt.load = @transposed_weight_is_a_parameter_load
// CHECK-NEXT: nn.matmul %[[X]], %[[P]]
// CHECK: func private @transposed_weight_is_a_parameter_load
// CHECK-NEXT: %[[W:.*]] = nn.weight "w"
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[W]]
// CHECK-NEXT: return %[[T]]
func.func @transposed_weight_is_a_parameter(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 128 : tensor<8x4xf32>
  %t = nn.transpose %w [1, 0] : tensor<8x4xf32>
  %y = nn.matmul %x, %t : tensor<2x4xf32>, tensor<4x8xf32>
  return %y : tensor<2x8xf32>
}

// A weight under another shape needs no copy.
// CHECK-LABEL: @reshaped_weight_is_read_from_the_file
// CHECK-NOT: rt.param
// CHECK: nn.weight "w"
// CHECK-NEXT: nn.reshape
// CHECK: func private @reshaped_weight_is_read_from_the_file_load
// CHECK-NEXT: return
func.func @reshaped_weight_is_read_from_the_file(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 32 : tensor<2x4xf32>
  %r = nn.reshape %w : tensor<2x4xf32> to tensor<8xf32>
  %y = nn.add %x, %r : tensor<2x8xf32>, tensor<8xf32>
  return %y : tensor<2x8xf32>
}

// As a parameter it would take memory, in main it costs an address.
// CHECK-LABEL: @broadcast_weight_stays
// CHECK-NOT: rt.param
// CHECK: nn.broadcast
func.func @broadcast_weight_stays(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 32 : tensor<8xf32>
  %b = nn.broadcast %w : tensor<8xf32> to tensor<2x8xf32>
  %y = nn.add %x, %b : tensor<2x8xf32>, tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// Bytes stay bytes: the kernel that reads them makes them floats. What is small beside them,
// as scales are, and zero points, is computed at load.
// CHECK-LABEL: @dequantised_weight_is_held_as_bytes
// CHECK-SAME: %[[B:[a-z0-9]+]]: tensor<256x512xui8> {rt.param}, %[[Z:[a-z0-9]+]]: tensor<1x512xf32> {rt.param}
// CHECK: %[[F:.*]] = nn.cast %[[B]]
// CHECK: %[[D:.*]] = nn.sub %[[F]], %[[Z]]
// CHECK: nn.matmul %{{.*}}, %[[D]]
// CHECK: func private @dequantised_weight_is_held_as_bytes_load
// CHECK: nn.transpose
// CHECK: nn.cast %{{.*}} : tensor<1x512xui8> to tensor<1x512xf32>
func.func @dequantised_weight_is_held_as_bytes(%x: tensor<2x256xf32>) -> tensor<2x512xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 131072 : tensor<512x256xui8>
  %z = nn.weight "z" in "m.bin" at 131072 length 512 : tensor<1x512xui8>
  %t = nn.transpose %w [1, 0] : tensor<512x256xui8>
  %f = nn.cast %t : tensor<256x512xui8> to tensor<256x512xf32>
  %zf = nn.cast %z : tensor<1x512xui8> to tensor<1x512xf32>
  %d = nn.sub %f, %zf : tensor<256x512xf32>, tensor<1x512xf32>
  %y = nn.matmul %x, %d : tensor<2x256xf32>, tensor<256x512xf32>
  return %y : tensor<2x512xf32>
}

// What is unpacked would be twice what a rank holds of the packed bytes, though no more than
// the whole of them.
// CHECK-LABEL: @part_of_packed_weight_stays_packed
// CHECK-SAME: tensor<256x256x1xui8> {rt.param}
// CHECK: nn.div
// CHECK: func private @part_of_packed_weight_stays_packed_load
func.func @part_of_packed_weight_stays_packed(%x: tensor<2x512xf32>) -> tensor<2x256xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 131072 : tensor<512x256xui8>
  %s = nn.slice %w starts [0, 0] sizes [256, 256] steps [1, 1] : tensor<512x256xui8>
  %r = nn.reshape %s : tensor<256x256xui8> to tensor<256x256x1xui8>
  %p = nn.constant dense<[1, 16]> : tensor<2xui8>
  %q = nn.div %r, %p : tensor<256x256x1xui8>, tensor<2xui8>
  %m = nn.reshape %q : tensor<256x256x2xui8> to tensor<256x512xui8>
  %f = nn.cast %m : tensor<256x512xui8> to tensor<256x512xf32>
  %t = nn.transpose %f [1, 0] : tensor<256x512xf32>
  %y = nn.matmul %x, %t : tensor<2x512xf32>, tensor<512x256xf32>
  return %y : tensor<2x256xf32>
}

// A mask repeats a list, and is no weight.
// CHECK-LABEL: @what_repeats_is_held
// CHECK-SAME: tensor<256x256xf32> {rt.param}
func.func @what_repeats_is_held(%x: tensor<256x256xf32>) -> tensor<256x256xf32> {
  %w = nn.weight "w" in "m.bin" at 0 length 1024 : tensor<256xf32>
  %r = nn.reshape %w : tensor<256xf32> to tensor<256x1xf32>
  %m = nn.sub %w, %r : tensor<256xf32>, tensor<256x1xf32>
  %y = nn.add %x, %m : tensor<256x256xf32>, tensor<256x256xf32>
  return %y : tensor<256x256xf32>
}
