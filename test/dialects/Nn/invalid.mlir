// RUN: cleave-opt %s -split-input-file -verify-diagnostics

func.func @cast_c1(%x: tensor<4xf32>) {
  // expected-error @below {{changes the shape}}
  %r = nn.cast %x : tensor<4xf32> to tensor<5xf16>
  return
}

// -----

func.func @reshape_c1(%x: tensor<4xf32>) {
  // expected-error @below {{changes the number or the type of elements}}
  %r = nn.reshape %x : tensor<4xf32> to tensor<5xf32>
  return
}

// -----

func.func @transpose_c1(%x: tensor<4x2xf32>) {
  // expected-error @below {{does not permute the 2 dimensions}}
  %r = nn.transpose %x [0, 0] : tensor<4x2xf32>
  return
}

// -----

func.func @broadcast_c1(%x: tensor<4xf32>) {
  // expected-error @below {{does not broadcast}}
  %r = nn.broadcast %x : tensor<4xf32> to tensor<5xf32>
  return
}

// -----

func.func @slice_c1(%x: tensor<4x2xf32>) {
  // expected-error @below {{wants one entry for each of 2 dimensions}}
  %r = nn.slice %x starts [0] sizes [1] steps [1] : tensor<4x2xf32>
  return
}

// -----

func.func @slice_c2(%x: tensor<4xf32>) {
  // expected-error @below {{leaves dimension 0 of size 4, got: start 2, size 3, step 1}}
  %r = nn.slice %x starts [2] sizes [3] steps [1] : tensor<4xf32>
  return
}

// -----

func.func @concat_c1(%x: tensor<4xf32>) {
  // expected-error @below {{names a dimension that its operand of rank 1 does not have, got: 1}}
  %r = nn.concat %x axis 1 : tensor<4xf32>
  return
}

// -----

func.func @concat_c2(%x: tensor<4x1xf32>, %y: tensor<4x2xf32>) {
  // expected-error @below {{joins operands that differ beside the axis}}
  %r = nn.concat %x, %y axis 0 : tensor<4x1xf32>, tensor<4x2xf32>
  return
}

// -----

func.func @pad_c1(%x: tensor<4xf32>, %v: tensor<f32>) {
  // expected-error @below {{has a negative frame at dimension 0}}
  %r = nn.pad %x, %v low [-1] high [0] : tensor<4xf32>, tensor<f32>
  return
}

// -----

func.func @pad_c2(%x: tensor<4xf32>, %v: tensor<1xf32>) {
  // expected-error @below {{pads with something else than a scalar}}
  %r = nn.pad %x, %v low [1] high [0] : tensor<4xf32>, tensor<1xf32>
  return
}

// -----

func.func @gather_c1(%x: tensor<4xf32>, %i: tensor<2xi64>) {
  // expected-error @below {{names a dimension that its operand of rank 1 does not have, got: 3}}
  %r = nn.gather %x, %i axis 3 : tensor<4xf32>, tensor<2xi64>
  return
}

// -----

func.func @gather_c2(%x: tensor<4xf32>) {
  %i = nn.constant dense<[3, -5]> : tensor<2xi64>
  // expected-error @below {{takes indices from -4 to 3, got: -5}}
  %r = nn.gather %x, %i axis 0 : tensor<4xf32>, tensor<2xi64>
  return
}

// -----

func.func @gather_c2_absolute(%x: tensor<4xf32>) {
  %i = nn.constant dense<-1> : tensor<2xi32>
  // expected-error @below {{takes indices from 0 to 3, got: -1}}
  %r = nn.gather %x, %i axis 0 absolute : tensor<4xf32>, tensor<2xi32>
  return
}

// -----

func.func @gather_elements_c2(%x: tensor<4xf32>) {
  %i = nn.constant dense<[0, 4]> : tensor<2xi64>
  // expected-error @below {{takes indices from -4 to 3, got: 4}}
  %r = nn.gather_elements %x, %i axis 0 : tensor<4xf32>, tensor<2xi64>
  return
}

// -----

func.func @gather_elements_c1(%x: tensor<4x2xf32>, %i: tensor<2xi64>) {
  // expected-error @below {{indices do not fit the operand}}
  %r = nn.gather_elements %x, %i axis 0 : tensor<4x2xf32>, tensor<2xi64>
  return
}

// -----

func.func @gather_nd_c1(%x: tensor<4xf32>, %i: tensor<2x3xi64>) {
  // expected-error @below {{tuples do not fit the operand}}
  %r = nn.gather_nd %x, %i batch_dims 0 : tensor<4xf32>, tensor<2x3xi64>
  return
}

// -----

func.func @scatter_nd_c1(%x: tensor<4xf32>, %i: tensor<2x1xi64>, %u: tensor<3xf32>) {
  // expected-error @below {{updates want the shape [2]}}
  %r = nn.scatter_nd %x, %i, %u : tensor<4xf32>, tensor<2x1xi64>, tensor<3xf32>
  return
}

// -----

func.func @cache_update_c1(%x: tensor<2x4xf32>, %u: tensor<2x5xf32>, %p: tensor<2xi64>) {
  // expected-error @below {{update does not fit the cache}}
  %r = nn.cache_update %x, %u, %p axis 1 : tensor<2x4xf32>, tensor<2x5xf32>, tensor<2xi64>
  return
}

// -----

func.func @cache_update_c2(%x: tensor<2x4xf32>, %u: tensor<2x1xf32>, %p: tensor<3xi64>) {
  // expected-error @below {{wants a position for each of 2 batches}}
  %r = nn.cache_update %x, %u, %p axis 1 : tensor<2x4xf32>, tensor<2x1xf32>, tensor<3xi64>
  return
}

// -----

func.func @weight_c1() {
  // expected-error @below {{of 16 bytes has a length of another size, got: 15}}
  %r = nn.weight "w" in "m.onnx" at 0 length 15 : tensor<4xf32>
  return
}

// -----

func.func @weight_c2() {
  // expected-error @below {{lies before its file, got: -8}}
  %r = nn.weight "w" in "m.onnx" at -8 length 16 : tensor<4xf32>
  return
}

// -----

func.func @cast_c2(%x: tensor<4xf32>) {
  // expected-error @below {{saturates only as an 8-bit float, got: 'f16'}}
  %r = nn.cast saturate %x : tensor<4xf32> to tensor<4xf16>
  return
}

// -----

func.func @matmul_c1(%x: tensor<4xf32>) {
  // expected-error @below {{wants two matrices of one element type}}
  %r = nn.matmul %x, %x : tensor<4xf32>, tensor<4xf32>
  return
}

// -----

func.func @matmul_c1_of_two_types(%x: tensor<4x4xi8>, %y: tensor<4x4xi32>) {
  // expected-error @below {{wants two matrices of one element type, or of two of 8 bits}}
  %r = nn.matmul %x, %y : tensor<4x4xi8>, tensor<4x4xi32>
  return
}

// -----

func.func @matmul_c2(%x: tensor<4x3xf32>) {
  // expected-error @below {{shapes do not multiply}}
  %r = nn.matmul %x, %x : tensor<4x3xf32>, tensor<4x3xf32>
  return
}

// -----

func.func @conv_c1(%x: tensor<1x4x6xf32>, %f: tensor<4x4x3xf32>) {
  // expected-error @below {{wants one entry for each of 1 spatial dimensions}}
  %r = nn.conv %x, %f strides [1, 1] dilations [1] low [0] high [0] groups 1 : tensor<1x4x6xf32>, tensor<4x4x3xf32>
  return
}

// -----

func.func @conv_c2(%x: tensor<1x4x6xf32>, %f: tensor<4x3x3xf32>) {
  // expected-error @below {{channels do not fall into 1 groups}}
  %r = nn.conv %x, %f strides [1] dilations [1] low [0] high [0] groups 1 : tensor<1x4x6xf32>, tensor<4x3x3xf32>
  return
}

// -----

func.func @conv_c3(%x: tensor<1x4x2xf32>, %f: tensor<4x4x3xf32>) {
  // expected-error @below {{window of 3 does not fit into the padded input, got: 2}}
  %r = nn.conv %x, %f strides [1] dilations [1] low [0] high [0] groups 1 : tensor<1x4x2xf32>, tensor<4x4x3xf32>
  return
}

// -----

func.func @reduce_c1(%x: tensor<4x2xf32>) {
  // expected-error @below {{dimensions do not rise}}
  %r = nn.reduce sum %x dims [1, 0] : tensor<4x2xf32>
  return
}

// -----

func.func @arg_reduce_c1(%x: tensor<0xf32>) {
  // expected-error @below {{looks for an element of an empty dimension}}
  %r = nn.arg_reduce max %x dim 0 : tensor<0xf32>
  return
}

// -----

func.func @top_k_c1(%x: tensor<4xf32>) {
  // expected-error @below {{takes more elements than there are, got: 5 of 4}}
  %r:2 = nn.top_k max 5 of %x dim 0 : tensor<4xf32>
  return
}

// -----

func.func @cumsum_c1(%x: tensor<4xf32>) {
  // expected-error @below {{names a dimension that its operand of rank 1 does not have, got: 1}}
  %r = nn.cumsum %x dim 1 : tensor<4xf32>
  return
}

// -----

func.func @softmax_c1(%x: tensor<4xf32>) {
  // expected-error @below {{names a dimension that its operand of rank 1 does not have, got: 1}}
  %r = nn.softmax %x dim 1 : tensor<4xf32>
  return
}

// -----

func.func @layer_norm_c1(%x: tensor<4xf32>, %w: tensor<3xf32>) {
  // expected-error @below {{wants a vector of the last dimension}}
  %r = nn.layer_norm %x, %w epsilon 0.1 : tensor<4xf32>, tensor<3xf32>
  return
}

// -----

func.func @rms_norm_c1(%x: tensor<4xf32>, %w: tensor<3xf32>) {
  // expected-error @below {{wants a vector of the last dimension}}
  %r = nn.rms_norm %x, %w epsilon 0.1 : tensor<4xf32>, tensor<3xf32>
  return
}

// -----

func.func @rope_c1(%x: tensor<2x4xf32>, %c: tensor<3x2xf32>) {
  // expected-error @below {{tables do not broadcast}}
  %r = nn.rope %x, %c, %c : tensor<2x4xf32>, tensor<3x2xf32>, tensor<3x2xf32>
  return
}

// -----

func.func @rope_c2(%x: tensor<2x4xf32>, %c: tensor<2x3xf32>) {
  // expected-error @below {{turns 6 lanes of 4}}
  %r = nn.rope %x, %c, %c : tensor<2x4xf32>, tensor<2x3xf32>, tensor<2x3xf32>
  return
}

// -----

func.func @attention_c1(%q: tensor<1x4x2x8xf32>, %k: tensor<1x4x3x7xf32>) {
  // expected-error @below {{operands do not agree}}
  %r = nn.attention %q, %k, %k scale 1.0 : tensor<1x4x2x8xf32>, tensor<1x4x3x7xf32>, tensor<1x4x3x7xf32>
  return
}

// -----

func.func @attention_c2(%q: tensor<1x4x2x8xf32>, %k: tensor<1x3x3x8xf32>) {
  // expected-error @below {{shares 3 key heads among 4 query heads}}
  %r = nn.attention %q, %k, %k scale 1.0 : tensor<1x4x2x8xf32>, tensor<1x3x3x8xf32>, tensor<1x3x3x8xf32>
  return
}

// -----

func.func @attention_c3(%q: tensor<1x4x2x8xf32>, %m: tensor<5x2xi1>) {
  // expected-error @below {{mask does not broadcast to the scores}}
  %r = nn.attention %q, %q, %q mask %m : tensor<5x2xi1> scale 1.0 : tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>
  return
}

// -----

func.func @attention_c4(%q: tensor<1x4x2x8xf32>) {
  // expected-error @below {{has an offset without being causal, got: 1}}
  %r = nn.attention %q, %q, %q scale 1.0 offset 1 : tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>
  return
}
