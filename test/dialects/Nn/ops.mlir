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
