func.func @main(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %up = nn.weight "up" in "m" at 0 length 2048 : tensor<64x8xf32>
  %down = nn.weight "down" in "m" at 2048 length 2048 : tensor<8x64xf32>
  %h = nn.matmul %x, %up : tensor<4x64xf32>, tensor<64x8xf32>
  %a = nn.silu %h : tensor<4x8xf32>
  %y = nn.matmul %a, %down : tensor<4x8xf32>, tensor<8x64xf32>
  return %y : tensor<4x64xf32>
}
