// RUN: cleave-opt %s --shard-print-names -verify-diagnostics -o /dev/null

// A head split splits the columns of the weight, and what else shares the name.
func.func @heads(%x: tensor<1x5x24xf32>) {
  // expected-remark @below {{[n0, n1*n2]}}
  %w = nn.weight "q" in "m" at 0 length 1152 : tensor<24x12xf32>
  // expected-remark @below {{[1, n3, n1*n2]}}
  %q = nn.matmul %x, %w : tensor<1x5x24xf32>, tensor<24x12xf32>
  // expected-remark @below {{[1, n3, n1, n2]}}
  %h = nn.reshape %q : tensor<1x5x12xf32> to tensor<1x5x3x4xf32>
  // expected-remark @below {{[1, n1, n3, n2]}}
  %t = nn.transpose %h [0, 2, 1, 3] : tensor<1x5x3x4xf32>
  return
}

// Queries are (kv, group): the query's weight sees it through the repeat.
func.func @grouped_heads(%q: tensor<2x6x5x4xf32>, %k: tensor<2x3x5x4xf32>) {
  // expected-remark @below {{[n0, n1, 1, n2, n3]}}
  %u = nn.reshape %k : tensor<2x3x5x4xf32> to tensor<2x3x1x5x4xf32>
  // expected-remark @below {{[n0, n1, n4, n2, n3]}}
  %b = nn.broadcast %u : tensor<2x3x1x5x4xf32> to tensor<2x3x2x5x4xf32>
  // expected-remark @below {{[n0, n1*n4, n2, n3]}}
  %r = nn.reshape %b : tensor<2x3x2x5x4xf32> to tensor<2x6x5x4xf32>
  // expected-remark @below {{[n0, n1*n4, n3, n2]}}
  %t = nn.transpose %r [0, 1, 3, 2] : tensor<2x6x5x4xf32>
  // expected-remark @below {{[n0, n1*n4, n5, n2]}}
  %s = nn.matmul %q, %t : tensor<2x6x5x4xf32>, tensor<2x6x4x5xf32>
  return
}

// One name in all segments: the fused projection is cut by heads for nothing.
func.func @fused(%x: tensor<5x24xf32>, %w: tensor<24x36xf32>) {
  // expected-remark @below {{[n0, (n1*n2 | (n1*n2 | n1*n2))]}}
  %y = nn.matmul %x, %w : tensor<5x24xf32>, tensor<24x36xf32>
  // expected-remark @below {{[n0, n1*n2]}}
  %q = nn.slice %y starts [0, 0] sizes [5, 12] steps [1, 1] : tensor<5x36xf32>
  // expected-remark @below {{[n0, n1*n2]}}
  %k = nn.slice %y starts [0, 12] sizes [5, 12] steps [1, 1] : tensor<5x36xf32>
  // expected-remark @below {{[n0, n1*n2]}}
  %v = nn.slice %y starts [0, 24] sizes [5, 12] steps [1, 1] : tensor<5x36xf32>
  // expected-remark @below {{[n0, n1*n2]}}
  %a = nn.add %q, %k : tensor<5x12xf32>, tensor<5x12xf32>
  // expected-remark @below {{[n0, n1*n2]}}
  %b = nn.mul %a, %v : tensor<5x12xf32>, tensor<5x12xf32>
  // expected-remark @below {{[n0, n1, n2]}}
  %h = nn.reshape %b : tensor<5x12xf32> to tensor<5x3x4xf32>
  return
}

// Rotated halves have one name, and half of the lanes each.
func.func @halves(%x: tensor<5x8xf32>) {
  // expected-remark @below {{[n0, n1]}}
  %a = nn.slice %x starts [0, 0] sizes [5, 4] steps [1, 1] : tensor<5x8xf32>
  // expected-remark @below {{[n0, n1]}}
  %b = nn.slice %x starts [0, 4] sizes [5, 4] steps [1, 1] : tensor<5x8xf32>
  // expected-remark @below {{[n0, (n1 | n1)]}}
  %r = nn.concat %b, %a axis 1 : tensor<5x4xf32>, tensor<5x4xf32>
  // expected-remark @below {{[n0, (n1 | n1)]}}
  %y = nn.add %x, %r : tensor<5x8xf32>, tensor<5x8xf32>
  return
}

// 36 as (4, 9) and as (6, 6): both have an outer 2, and nothing is said of the rest.
func.func @contradiction(%x: tensor<36xf32>) {
  // expected-remark @below {{[n0*n1, n2]}}
  %a = nn.reshape %x : tensor<36xf32> to tensor<4x9xf32>
  // expected-remark @below {{[n0*n3, n4]}}
  %b = nn.reshape %x : tensor<36xf32> to tensor<6x6xf32>
  return
}
