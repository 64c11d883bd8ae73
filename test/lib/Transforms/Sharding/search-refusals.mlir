// RUN: not cleave-opt %s --shard-search=mesh=tp=0 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: not cleave-opt %s --shard-search=mesh=tp 2>&1 | FileCheck %s --check-prefix=NOSIZE
// RUN: not cleave-opt %s --shard-search=mesh=tp=2,tp=2 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not cleave-opt %s --shard-search="mesh=pp=2 micro-batches=2 strict" 2>&1 | FileCheck %s --check-prefix=ROWS
// RUN: not cleave-opt %s --shard-search="mesh=dp=2 strict" 2>&1 | FileCheck %s --check-prefix=IDLE
// RUN: not cleave-opt %s --shard-search="mesh=tp=2,pt=4 strict" 2>&1 | FileCheck %s --check-prefix=SLIP
// RUN: not cleave-opt %s --shard-search="mesh=rows=2 strict" 2>&1 | FileCheck %s --check-prefix=PLAIN
// RUN: not cleave-opt %s --shard-localize 2>&1 | FileCheck %s --check-prefix=EARLY

// SIZE: error: an axis is name=size, with a size of 1 to 4096, got: tp=0
// NOSIZE: error: an axis is name=size, with a size of 1 to 4096, got: tp
// TWICE: error: axis named twice: tp
// ROWS: error: 2 micro-batches are asked for and 1 is made: no dimension of more than one index leads every output of the model; give a larger batch with --dim
// IDLE: error: axis "dp" of size 2 cuts nothing: it never cuts weights
// IDLE-SAME: times of an H100; give larger sizes with --dim: "batch" is 1, "width" is 4{{$}}
// SLIP: error: axis "pt" of size 4 cuts nothing: its name says nothing about what to cut, as tp, ep, dp, sp, cp and pp do; did you mean "tp"?
// PLAIN: error: axis "rows" of size 2 cuts nothing: its name says nothing{{.*}} do{{$}}
// EARLY: error: has no mesh or no function main; run --shard-search first
func.func @main(%x: tensor<1x4xf32> {nn.shape = affine_map<()[s0, s1] -> (s0, s1)>}) -> tensor<1x4xf32> attributes {nn.symbols = ["batch", "width"]} {
  %w = nn.weight "w" in "m" at 0 length 64 : tensor<4x4xf32>
  %h = nn.tanh %x : tensor<1x4xf32>
  %y = nn.matmul %h, %w : tensor<1x4xf32>, tensor<4x4xf32>
  return %y : tensor<1x4xf32>
}
