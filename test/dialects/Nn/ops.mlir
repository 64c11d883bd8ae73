// RUN: cleave-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: @decoder_layer
func.func @decoder_layer(%ids: tensor<2x8xi64>, %k: tensor<2x4x15x16xf32>, %mask: tensor<2x1x8x15xi1>) -> tensor<2x8x4x16xf32> {
  // CHECK: nn.weight "embed" in "m.onnx" at 0 length 65536 : tensor<256x64xf32>
  %table = nn.weight "embed" in "m.onnx" at 0 length 65536 : tensor<256x64xf32>
  %scale = nn.constant dense<1.0> : tensor<64xf32>
  %x = nn.gather %table, %ids axis 0 : tensor<256x64xf32>, tensor<2x8xi64>
  %n = nn.rms_norm %x, %scale epsilon 1.000000e-05 : tensor<2x8x64xf32>, tensor<64xf32>
  %h = nn.reshape %n : tensor<2x8x64xf32> to tensor<2x8x4x16xf32>
  %q = nn.transpose %h [0, 2, 1, 3] : tensor<2x8x4x16xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} mask %{{.*}} : tensor<2x1x8x15xi1> scale 2.500000e-01 causal offset 7
  %a = nn.attention %q, %k, %k mask %mask : tensor<2x1x8x15xi1> scale 0.25 causal offset 7 : tensor<2x4x8x16xf32>, tensor<2x4x15x16xf32>, tensor<2x4x15x16xf32>
  %b = nn.transpose %a [0, 2, 1, 3] : tensor<2x4x8x16xf32>
  return %b : tensor<2x8x4x16xf32>
}

// CHECK-LABEL: @unary
func.func @unary(%x: tensor<2x3xf32>, %p: tensor<4xi1>) -> (tensor<2x3xf32>, tensor<4xi1>, tensor<2x3xi1>, tensor<2x3xbf16>) {
  // CHECK: nn.neg %{{.*}} : tensor<2x3xf32>
  %u0 = nn.neg %x : tensor<2x3xf32>
  // CHECK: nn.abs %{{.*}} : tensor<2x3xf32>
  %u1 = nn.abs %u0 : tensor<2x3xf32>
  // CHECK: nn.sign %{{.*}} : tensor<2x3xf32>
  %u2 = nn.sign %u1 : tensor<2x3xf32>
  // CHECK: nn.exp %{{.*}} : tensor<2x3xf32>
  %u3 = nn.exp %u2 : tensor<2x3xf32>
  // CHECK: nn.log %{{.*}} : tensor<2x3xf32>
  %u4 = nn.log %u3 : tensor<2x3xf32>
  // CHECK: nn.sqrt %{{.*}} : tensor<2x3xf32>
  %u5 = nn.sqrt %u4 : tensor<2x3xf32>
  // CHECK: nn.rsqrt %{{.*}} : tensor<2x3xf32>
  %u6 = nn.rsqrt %u5 : tensor<2x3xf32>
  // CHECK: nn.reciprocal %{{.*}} : tensor<2x3xf32>
  %u7 = nn.reciprocal %u6 : tensor<2x3xf32>
  // CHECK: nn.tanh %{{.*}} : tensor<2x3xf32>
  %u8 = nn.tanh %u7 : tensor<2x3xf32>
  // CHECK: nn.erf %{{.*}} : tensor<2x3xf32>
  %u9 = nn.erf %u8 : tensor<2x3xf32>
  // CHECK: nn.sigmoid %{{.*}} : tensor<2x3xf32>
  %u10 = nn.sigmoid %u9 : tensor<2x3xf32>
  // CHECK: nn.silu %{{.*}} : tensor<2x3xf32>
  %u11 = nn.silu %u10 : tensor<2x3xf32>
  // CHECK: nn.sin %{{.*}} : tensor<2x3xf32>
  %u12 = nn.sin %u11 : tensor<2x3xf32>
  // CHECK: nn.cos %{{.*}} : tensor<2x3xf32>
  %u13 = nn.cos %u12 : tensor<2x3xf32>
  // CHECK: nn.floor %{{.*}} : tensor<2x3xf32>
  %u14 = nn.floor %u13 : tensor<2x3xf32>
  // CHECK: nn.ceil %{{.*}} : tensor<2x3xf32>
  %u15 = nn.ceil %u14 : tensor<2x3xf32>
  // CHECK: nn.round %{{.*}} : tensor<2x3xf32>
  %u16 = nn.round %u15 : tensor<2x3xf32>
  // CHECK: nn.gelu tanh
  %g = nn.gelu tanh %u16 : tensor<2x3xf32>
  // CHECK: nn.is_nan
  %n = nn.is_nan %g : tensor<2x3xf32>
  // CHECK: nn.not
  %q = nn.not %p : tensor<4xi1>
  // CHECK: nn.cast %{{.*}} : tensor<2x3xf32> to tensor<2x3xbf16>
  %c = nn.cast %g : tensor<2x3xf32> to tensor<2x3xbf16>
  return %g, %q, %n, %c : tensor<2x3xf32>, tensor<4xi1>, tensor<2x3xi1>, tensor<2x3xbf16>
}

// CHECK-LABEL: @operands_broadcast
func.func @operands_broadcast(%x: tensor<2x3xi64>, %y: tensor<3xi64>, %p: tensor<3xi1>) -> (tensor<2x3xi64>, tensor<3xi1>) {
  // CHECK: nn.add %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b0 = nn.add %x, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.sub %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b1 = nn.sub %b0, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.mul %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b2 = nn.mul %b1, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.div %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b3 = nn.div %b2, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.pow %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b4 = nn.pow %b3, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.max %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b5 = nn.max %b4, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.min %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b6 = nn.min %b5, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.mod %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b7 = nn.mod %b6, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.rem %{{.*}}, %{{.*}} : tensor<2x3xi64>, tensor<3xi64>
  %b8 = nn.rem %b7, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.compare le
  %c = nn.compare le %b8, %y : tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.select
  %s = nn.select %c, %b8, %y : tensor<2x3xi1>, tensor<2x3xi64>, tensor<3xi64>
  // CHECK: nn.and
  %a = nn.and %p, %p : tensor<3xi1>, tensor<3xi1>
  // CHECK: nn.or
  %o = nn.or %a, %p : tensor<3xi1>, tensor<3xi1>
  // CHECK: nn.xor
  %r = nn.xor %o, %p : tensor<3xi1>, tensor<3xi1>
  return %s, %r : tensor<2x3xi64>, tensor<3xi1>
}

// CHECK-LABEL: @movement
func.func @movement(%x: tensor<2x3xf32>, %i: tensor<2x3xi64>, %t: tensor<1x2xi64>, %u: tensor<1xf32>, %z: tensor<f32>, %k: tensor<2x4x5xf32>, %n: tensor<2x4x1xf32>, %at: tensor<2xi64>) -> tensor<2x4x5xf32> {
  // CHECK: nn.broadcast
  %b = nn.broadcast %x : tensor<2x3xf32> to tensor<4x2x3xf32>
  // CHECK: nn.slice %{{.*}} starts [1, 0] sizes [1, 3] steps [1, 1]
  %s = nn.slice %x starts [1, 0] sizes [1, 3] steps [1, 1] : tensor<2x3xf32>
  // CHECK: nn.concat %{{.*}}, %{{.*}} axis 0
  %c = nn.concat %x, %s axis 0 : tensor<2x3xf32>, tensor<1x3xf32>
  // CHECK: nn.pad %{{.*}}, %{{.*}} low [0, 1] high [0, 2]
  %p = nn.pad %x, %z low [0, 1] high [0, 2] : tensor<2x3xf32>, tensor<f32>
  // CHECK: nn.gather %{{.*}}, %{{.*}} axis 0 absolute : tensor<2x3xf32>, tensor<1x2xi64>
  %a = nn.gather %x, %t axis 0 absolute : tensor<2x3xf32>, tensor<1x2xi64>
  // CHECK: nn.gather_elements
  %e = nn.gather_elements %x, %i axis 1 : tensor<2x3xf32>, tensor<2x3xi64>
  // CHECK: nn.gather_nd
  %g = nn.gather_nd %x, %t batch_dims 0 : tensor<2x3xf32>, tensor<1x2xi64>
  // CHECK: nn.scatter_nd
  %w = nn.scatter_nd %x, %t, %u : tensor<2x3xf32>, tensor<1x2xi64>, tensor<1xf32>
  // CHECK: nn.cache_update
  %r = nn.cache_update %k, %n, %at axis 2 : tensor<2x4x5xf32>, tensor<2x4x1xf32>, tensor<2xi64>
  return %r : tensor<2x4x5xf32>
}

// CHECK-LABEL: @rows
func.func @rows(%x: tensor<2x8xf32>, %w: tensor<8xf32>, %c: tensor<2x4xf32>, %m: tensor<8x3xf32>, %i: tensor<1x4x6x6xf32>, %f: tensor<4x1x3x3xf32>) -> tensor<2x3xf32> {
  // CHECK: nn.reduce mean %{{.*}} dims [1]
  %r = nn.reduce mean %x dims [1] : tensor<2x8xf32>
  // CHECK: nn.arg_reduce max %{{.*}} dim 1 last
  %a = nn.arg_reduce max %x dim 1 last : tensor<2x8xf32>
  // CHECK: nn.top_k max 2 of
  %t:2 = nn.top_k max 2 of %x dim 1 : tensor<2x8xf32>
  // CHECK: nn.cumsum %{{.*}} dim 1 exclusive
  %s = nn.cumsum %x dim 1 exclusive : tensor<2x8xf32>
  // CHECK: nn.softmax %{{.*}} dim 1
  %p = nn.softmax %x dim 1 : tensor<2x8xf32>
  // CHECK: nn.layer_norm
  %l = nn.layer_norm %p, %w, %w epsilon 1.0e-05 : tensor<2x8xf32>, tensor<8xf32>, tensor<8xf32>
  // CHECK: nn.rope %{{.*}}, %{{.*}}, %{{.*}} interleaved
  %o = nn.rope %l, %c, %c interleaved : tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4xf32>
  // CHECK: nn.conv
  %v = nn.conv %i, %f strides [1, 1] dilations [1, 1] low [1, 1] high [1, 1] groups 4 : tensor<1x4x6x6xf32>, tensor<4x1x3x3xf32>
  // CHECK: nn.matmul
  %y = nn.matmul %o, %m : tensor<2x8xf32>, tensor<8x3xf32>
  return %y : tensor<2x3xf32>
}

// CHECK-LABEL: @bytes_that_saturate
// CHECK-NEXT: nn.cast saturate %{{.*}} : tensor<4xf32> to tensor<4xf8E4M3FN>
func.func @bytes_that_saturate(%x: tensor<4xf32>) -> tensor<4xf8E4M3FN> {
  %y = nn.cast saturate %x : tensor<4xf32> to tensor<4xf8E4M3FN>
  return %y : tensor<4xf8E4M3FN>
}

// CHECK-LABEL: @products_of_bytes
func.func @products_of_bytes(%a: tensor<2x8xi8>, %b: tensor<8x3xui8>, %c: tensor<2x8xf8E5M2>, %d: tensor<8x3xf8E5M2>) -> (tensor<2x3xi32>, tensor<2x3xf32>) {
  %x = nn.matmul %a, %b : tensor<2x8xi8>, tensor<8x3xui8>
  %y = nn.matmul %c, %d : tensor<2x8xf8E5M2>, tensor<8x3xf8E5M2>
  return %x, %y : tensor<2x3xi32>, tensor<2x3xf32>
}
