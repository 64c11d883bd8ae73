// RUN: cleave-opt %s --graph-multiply-bytes | FileCheck %s

// Weights lie turned, with a scale for each of their rows, the columns of the product.
// CHECK-LABEL: @product
// CHECK-SAME: %[[A:.*]]: tensor<2x8xui8>, %[[W:.*]]: tensor<6x8xi8>
// CHECK: %[[T:.*]] = nn.transpose %{{.*}} [1, 0] : tensor<6x8xi8>
// CHECK: %[[P:.*]] = nn.matmul %[[A]], %[[T]] : tensor<2x8xui8>, tensor<8x6xi8>
// CHECK: nn.reduce sum %{{.*}} dims [0] : tensor<8x6xi32>
// CHECK: %[[D:.*]] = nn.sub %[[P]]
// CHECK: %[[S:.*]] = nn.mul %{{.*}} : tensor<f32>, tensor<1x6xf32>
// CHECK: %[[F:.*]] = nn.cast %[[D]] : tensor<2x6xi32> to tensor<2x6xf32>
// CHECK: %[[Y:.*]] = nn.mul %[[F]], %[[S]]
// CHECK: return %[[Y]]
func.func @product(%a: tensor<2x8xui8>, %w: tensor<6x8xi8>, %s: tensor<6x1xf32>) -> tensor<2x6xf32> {
  %sa = nn.constant dense<0.5> : tensor<f32>
  %za = nn.constant dense<3.0> : tensor<f32>
  %af = nn.cast %a : tensor<2x8xui8> to tensor<2x8xf32>
  %am = nn.sub %af, %za : tensor<2x8xf32>, tensor<f32>
  %x = nn.mul %am, %sa : tensor<2x8xf32>, tensor<f32>
  %wf = nn.cast %w : tensor<6x8xi8> to tensor<6x8xf32>
  %ws = nn.mul %wf, %s : tensor<6x8xf32>, tensor<6x1xf32>
  %t = nn.transpose %ws [1, 0] : tensor<6x8xf32>
  %y = nn.matmul %x, %t : tensor<2x8xf32>, tensor<8x6xf32>
  return %y : tensor<2x6xf32>
}

// A scale for each row of weights, along the sum: no one number is left to multiply with.
// CHECK-LABEL: @scales_along_the_sum
// CHECK: nn.matmul %{{.*}} : tensor<2x8xf32>, tensor<8x6xf32>
func.func @scales_along_the_sum(%a: tensor<2x8xui8>, %w: tensor<8x6xi8>, %s: tensor<8x1xf32>) -> tensor<2x6xf32> {
  %sa = nn.constant dense<0.5> : tensor<f32>
  %af = nn.cast %a : tensor<2x8xui8> to tensor<2x8xf32>
  %x = nn.mul %af, %sa : tensor<2x8xf32>, tensor<f32>
  %wf = nn.cast %w : tensor<8x6xi8> to tensor<8x6xf32>
  %ws = nn.mul %wf, %s : tensor<8x6xf32>, tensor<8x1xf32>
  %y = nn.matmul %x, %ws : tensor<2x8xf32>, tensor<8x6xf32>
  return %y : tensor<2x6xf32>
}

// What lies around the image stands for 0: the zero point.
// CHECK-LABEL: @convolution
// CHECK: %[[P:.*]] = nn.pad %{{.*}} low [0, 0, 1] high [0, 0, 1] : tensor<1x4x9xui8>, tensor<ui8>
// CHECK: nn.conv %[[P]], %{{.*}} low [0] high [0] groups 2 : tensor<1x4x11xui8>, tensor<6x2x3xi8>
// CHECK: nn.reduce sum %{{.*}} dims [1, 2] : tensor<6x2x3xi32>
func.func @convolution(%a: tensor<1x4x9xui8>, %w: tensor<6x2x3xi8>, %s: tensor<6x1x1xf32>) -> tensor<1x6x9xf32> {
  %sa = nn.constant dense<0.5> : tensor<f32>
  %za = nn.constant dense<3.0> : tensor<f32>
  %af = nn.cast %a : tensor<1x4x9xui8> to tensor<1x4x9xf32>
  %am = nn.sub %af, %za : tensor<1x4x9xf32>, tensor<f32>
  %x = nn.mul %am, %sa : tensor<1x4x9xf32>, tensor<f32>
  %wf = nn.cast %w : tensor<6x2x3xi8> to tensor<6x2x3xf32>
  %ws = nn.mul %wf, %s : tensor<6x2x3xf32>, tensor<6x1x1xf32>
  %y = nn.conv %x, %ws strides [1] dilations [1] low [1] high [1] groups 2 : tensor<1x4x9xf32>, tensor<6x2x3xf32>
  return %y : tensor<1x6x9xf32>
}

// 8-bit floats of any two kinds, rounded to the type of the model behind their scale.
// CHECK-LABEL: @floats
// CHECK: %[[T:.*]] = nn.transpose %{{.*}} [1, 0] : tensor<6x8xf8E5M2>
// CHECK: %[[P:.*]] = nn.matmul %{{.*}}, %[[T]] : tensor<2x8xf8E4M3FN>, tensor<8x6xf8E5M2>
// CHECK: %[[S:.*]] = nn.mul %{{.*}} : tensor<f32>, tensor<1x6xf32>
// CHECK: %[[Y:.*]] = nn.mul %[[P]], %[[S]] : tensor<2x6xf32>, tensor<1x6xf32>
// CHECK: nn.cast %[[Y]] : tensor<2x6xf32> to tensor<2x6xf16>
func.func @floats(%a: tensor<2x8xf8E4M3FN>, %w: tensor<6x8xf8E5M2>, %s: tensor<6x1xf32>) -> tensor<2x6xf16> {
  %sa = nn.constant dense<0.5> : tensor<f32>
  %af = nn.cast %a : tensor<2x8xf8E4M3FN> to tensor<2x8xf32>
  %am = nn.mul %af, %sa : tensor<2x8xf32>, tensor<f32>
  %x = nn.cast %am : tensor<2x8xf32> to tensor<2x8xf16>
  %wf = nn.cast %w : tensor<6x8xf8E5M2> to tensor<6x8xf32>
  %ws = nn.mul %wf, %s : tensor<6x8xf32>, tensor<6x1xf32>
  %wh = nn.cast %ws : tensor<6x8xf32> to tensor<6x8xf16>
  %t = nn.transpose %wh [1, 0] : tensor<6x8xf16>
  %y = nn.matmul %x, %t : tensor<2x8xf16>, tensor<8x6xf16>
  return %y : tensor<2x6xf16>
}

// Integers and floats do not multiply.
// CHECK-LABEL: @integers_by_floats
// CHECK: nn.matmul %{{.*}} : tensor<2x8xf32>, tensor<8x6xf32>
func.func @integers_by_floats(%a: tensor<2x8xi8>, %w: tensor<8x6xf8E4M3FN>) -> tensor<2x6xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %af = nn.cast %a : tensor<2x8xi8> to tensor<2x8xf32>
  %x = nn.mul %af, %s : tensor<2x8xf32>, tensor<f32>
  %wf = nn.cast %w : tensor<8x6xf8E4M3FN> to tensor<8x6xf32>
  %ws = nn.mul %wf, %s : tensor<8x6xf32>, tensor<f32>
  %y = nn.matmul %x, %ws : tensor<2x8xf32>, tensor<8x6xf32>
  return %y : tensor<2x6xf32>
}

// Differences of floats are no floats of 8 bits.
// CHECK-LABEL: @floats_with_zero_points
// CHECK: nn.matmul %{{.*}} : tensor<2x8xf32>, tensor<8x6xf32>
func.func @floats_with_zero_points(%a: tensor<2x8xf8E4M3FN>, %z: tensor<f8E4M3FN>, %w: tensor<8x6xf8E4M3FN>) -> tensor<2x6xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %af = nn.cast %a : tensor<2x8xf8E4M3FN> to tensor<2x8xf32>
  %zf = nn.cast %z : tensor<f8E4M3FN> to tensor<f32>
  %am = nn.sub %af, %zf : tensor<2x8xf32>, tensor<f32>
  %x = nn.mul %am, %s : tensor<2x8xf32>, tensor<f32>
  %wf = nn.cast %w : tensor<8x6xf8E4M3FN> to tensor<8x6xf32>
  %ws = nn.mul %wf, %s : tensor<8x6xf32>, tensor<f32>
  %y = nn.matmul %x, %ws : tensor<2x8xf32>, tensor<8x6xf32>
  return %y : tensor<2x6xf32>
}

// The filter of a quantised convolution.
// CHECK-LABEL: @convolution_of_floats
// CHECK: nn.conv %{{.*}} : tensor<1x4x9xf8E4M3FN>, tensor<6x2x3xf8E4M3FN>
// CHECK-NOT: nn.reduce
func.func @convolution_of_floats(%a: tensor<1x4x9xf8E4M3FN>, %w: tensor<6x2x3xf8E4M3FN>, %s: tensor<6x1x1xf32>) -> tensor<1x6x9xf32> {
  %sa = nn.constant dense<0.5> : tensor<f32>
  %af = nn.cast %a : tensor<1x4x9xf8E4M3FN> to tensor<1x4x9xf32>
  %x = nn.mul %af, %sa : tensor<1x4x9xf32>, tensor<f32>
  %wf = nn.cast %w : tensor<6x2x3xf8E4M3FN> to tensor<6x2x3xf32>
  %ws = nn.mul %wf, %s : tensor<6x2x3xf32>, tensor<6x1x1xf32>
  %y = nn.conv %x, %ws strides [1] dilations [1] low [1] high [1] groups 2 : tensor<1x4x9xf32>, tensor<6x2x3xf32>
  return %y : tensor<1x6x9xf32>
}
