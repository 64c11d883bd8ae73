// RUN: cleave-opt %s --shard-print-rules -split-input-file -verify-diagnostics -o /dev/null

func.func @contractions(%x: tensor<2x8x6xf32>, %w: tensor<6x4xf32>, %y: tensor<1x6x8xf32>,
                        %i: tensor<2x6x9x9xf32>, %f: tensor<8x6x3x3xf32>, %h: tensor<9x2x3x3xf32>) {
  // expected-remark @below {{parallel 2[0] 0[0]; parallel 0[1] 2[1]; parallel 1[1] 2[2]; sum 0[2] 1[0]}}
  %0 = nn.matmul %x, %w : tensor<2x8x6xf32>, tensor<6x4xf32>
  // A batch of 1 repeats: it is in no factor of the result's.
  // expected-remark @below {{parallel 2[0] 0[0]; parallel 0[1] 2[1]; parallel 1[2] 2[2]; sum 0[2] 1[1]}}
  %1 = nn.matmul %x, %y : tensor<2x8x6xf32>, tensor<1x6x8xf32>
  // expected-remark @below {{parallel 0[0] 2[0]; parallel 1[0] 2[1]; sum 0[1] 1[1]}}
  %2 = nn.conv %i, %f strides [1, 1] dilations [1, 1] low [1, 1] high [1, 1] groups 1 : tensor<2x6x9x9xf32>, tensor<8x6x3x3xf32>
  // expected-remark @below {{parallel 0[0] 2[0]; parallel 0[1]:3x2.0 1[0]:3x3.0 2[1]:3x3.0}}
  %3 = nn.conv %i, %h strides [1, 1] dilations [1, 1] low [1, 1] high [1, 1] groups 3 : tensor<2x6x9x9xf32>, tensor<9x2x3x3xf32>
  return
}

// -----

func.func @attention(%q: tensor<2x6x5x4xf32>, %k: tensor<2x3x7x4xf32>, %m: tensor<6x5x7xf32>,
                     %l: tensor<2xi64>, %c: tensor<2x1x5x2xf32>) {
  // expected-remark @below {{parallel 0[0] 1[0] 2[0] 3[0]; parallel 0[1]:3x2.0 1[1] 2[1] 3[1]:3x2.0; parallel 0[1]:3x2.1 3[1]:3x2.1; parallel 0[2] 3[2]}}
  %0 = nn.attention %q, %k, %k scale 1.0 : tensor<2x6x5x4xf32>, tensor<2x3x7x4xf32>, tensor<2x3x7x4xf32>
  // expected-remark @below {{parallel 0[0] 1[0] 2[0] 5[0] 4[0]; parallel 0[1]:3x2.0 1[1] 2[1] 5[1]:3x2.0 3[0]:3x2.0; parallel 0[1]:3x2.1 5[1]:3x2.1 3[0]:3x2.1; parallel 0[2] 5[2] 3[1]}}
  %1 = nn.attention %q, %k, %k mask %m : tensor<6x5x7xf32> lengths %l : tensor<2xi64> scale 1.0 : tensor<2x6x5x4xf32>, tensor<2x3x7x4xf32>, tensor<2x3x7x4xf32>
  // Rows of an added mask that are all hidden cannot be said of a part.
  // expected-remark @below {{parallel 0[1]:3x2.1 5[1]:3x2.1 3[0]:3x2.1}}
  %2 = nn.attention %q, %k, %k mask %m : tensor<6x5x7xf32> lengths %l : tensor<2xi64> scale 1.0 causal : tensor<2x6x5x4xf32>, tensor<2x3x7x4xf32>, tensor<2x3x7x4xf32>
  // Lanes are pairs: they stay whole.
  // expected-remark @below {{parallel 0[0] 1[0] 2[0] 3[0]; parallel 0[1] 3[1]; parallel 0[2] 1[2] 2[2] 3[2]}}
  %3 = nn.rope %q, %c, %c : tensor<2x6x5x4xf32>, tensor<2x1x5x2xf32>, tensor<2x1x5x2xf32>
  return
}

// -----

func.func @rows(%x: tensor<2x8x6xf32>, %s: tensor<6xf32>) {
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[1] 1[1]; special 0[2] 1[2]}}
  %0 = nn.softmax %x dim 2 : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 2[0]; parallel 0[1] 2[1]}}
  %1 = nn.rms_norm %x, %s epsilon 1.0e-05 : tensor<2x8x6xf32>, tensor<6xf32>
  // expected-remark @below {{parallel 0[0] 3[0]; parallel 0[1] 3[1]}}
  %2 = nn.layer_norm %x, %s, %s epsilon 1.0e-05 : tensor<2x8x6xf32>, tensor<6xf32>, tensor<6xf32>
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[2] 1[2]; sum 0[1]; linear {0}}}
  %3 = nn.reduce mean %x dims [1] : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[1] 1[1]; parallel 0[2] 1[2]; special 0[0]}}
  %4 = nn.reduce max %x dims [0] : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[1] 1[1]; special 0[2]}}
  %5 = nn.arg_reduce max %x dim 2 : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0] 2[0]; parallel 0[1] 1[1] 2[1]}}
  %6, %7 = nn.top_k max 2 of %x dim 2 : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[2] 1[2]}}
  %8 = nn.cumsum %x dim 1 : tensor<2x8x6xf32>
  return
}

// -----

func.func @elementwise(%x: tensor<2x8x6xf32>, %v: tensor<8x1xf32>, %b: tensor<6xi1>) {
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[1] 1[1]; parallel 0[2] 1[2]; linear {0}}}
  %0 = nn.neg %x : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[1] 1[1]; parallel 0[2] 1[2]}}
  %1 = nn.gelu erf %x : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 2[0]; parallel 0[1] 1[0] 2[1]; parallel 0[2] 2[2]; linear {0, 1}}}
  %2 = nn.add %x, %v : tensor<2x8x6xf32>, tensor<8x1xf32>
  // expected-remark @below {{parallel 0[2] 2[2]; linear {0}; linear {1}}}
  %3 = nn.mul %x, %v : tensor<2x8x6xf32>, tensor<8x1xf32>
  // expected-remark @below {{parallel 0[2] 2[2]; linear {0}}}
  %4 = nn.div %x, %v : tensor<2x8x6xf32>, tensor<8x1xf32>
  // expected-remark @below {{parallel 1[0] 3[0]; parallel 1[1] 2[0] 3[1]; parallel 0[0] 1[2] 3[2]; linear {1, 2}}}
  %5 = nn.select %b, %x, %v : tensor<6xi1>, tensor<2x8x6xf32>, tensor<8x1xf32>
  // Rounding a sum is not summing what is rounded.
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[1] 1[1]; parallel 0[2] 1[2]}}
  %6 = nn.cast %x : tensor<2x8x6xf32> to tensor<2x8x6xi64>
  return
}

// -----

func.func @movement(%x: tensor<2x8x6xf32>, %y: tensor<2x3x6xf32>, %z: tensor<f32>) {
  // expected-remark @below {{parallel 0[0] 1[0]; parallel 0[1, 2] 1[3, 4]; linear {0}}}
  %0 = nn.reshape %x : tensor<2x8x6xf32> to tensor<2x1x1x4x12xf32>
  // expected-remark @below {{parallel 0[2] 1[0]; parallel 0[0] 1[1]; parallel 0[1] 1[2]; linear {0}}}
  %1 = nn.transpose %x [2, 0, 1] : tensor<2x8x6xf32>
  // What is new belongs to the result alone.
  // expected-remark @below {{parallel 1[0]; parallel 0[0] 1[1]; parallel 0[1] 1[2]; parallel 0[2] 1[3]; linear {0}}}
  %2 = nn.broadcast %x : tensor<2x8x6xf32> to tensor<4x2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0]; concat 0[1] 1 1[1] 4; parallel 0[2]:3x2.0 1[2]; linear {0}}}
  %3 = nn.slice %x starts [0, 1, 1] sizes [2, 3, 3] steps [1, 1, 2] : tensor<2x8x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0] 2[0]; concat 2[1] 0[1] 1[1]; parallel 0[2] 1[2] 2[2]; linear {0, 1}}}
  %4 = nn.concat %x, %y axis 1 : tensor<2x8x6xf32>, tensor<2x3x6xf32>
  // expected-remark @below {{parallel 0[0] 2[0]; parallel 0[2] 2[2]}}
  %5 = nn.pad %x, %z low [0, 1, 0] high [0, 0, 0] : tensor<2x8x6xf32>, tensor<f32>
  return
}

// -----

func.func @indexed(%x: tensor<5x8x6xf32>, %i: tensor<2x3xi64>, %e: tensor<5x2x6xi64>,
                   %t: tensor<5x3x1xi64>, %u: tensor<2x2xi64>, %n: tensor<2x6xf32>,
                   %c: tensor<5x1x6xf32>, %p: tensor<5xi64>) {
  // expected-remark @below {{parallel 0[0] 2[0]; lookup 0[1]; parallel 0[2] 2[3]; parallel 1[0] 2[1]; parallel 1[1] 2[2]; linear {0}}}
  %0 = nn.gather %x, %i axis 1 : tensor<5x8x6xf32>, tensor<2x3xi64>
  // expected-remark @below {{parallel 0[0] 1[0] 2[0]; parallel 1[1] 2[1]; parallel 0[2] 1[2] 2[2]}}
  %1 = nn.gather_elements %x, %e axis 1 : tensor<5x8x6xf32>, tensor<5x2x6xi64>
  // expected-remark @below {{parallel 1[0] 2[0] 0[0]; parallel 1[1] 2[1]; parallel 0[2] 2[2]}}
  %2 = nn.gather_nd %x, %t batch_dims 1 : tensor<5x8x6xf32>, tensor<5x3x1xi64>
  // expected-remark @below {{parallel 0[2] 2[1] 3[2]}}
  %3 = nn.scatter_nd %x, %u, %n : tensor<5x8x6xf32>, tensor<2x2xi64>, tensor<2x6xf32>
  // expected-remark @below {{parallel 0[0] 1[0] 3[0] 2[0]; parallel 0[2] 1[2] 3[2]}}
  %4 = nn.cache_update %x, %c, %p axis 1 : tensor<5x8x6xf32>, tensor<5x1x6xf32>, tensor<5xi64>
  return
}

// -----

func.func @no_rule(%x: tensor<4xf32>) {
  // expected-error @below {{has no sharding rule}}
  %0 = dist.all_reduce sum %x over ["tp"] : tensor<4xf32>
  return
}
