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
