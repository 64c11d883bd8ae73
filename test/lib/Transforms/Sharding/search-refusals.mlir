// RUN: not cleave-opt %s --shard-search=mesh=tp=0 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: not cleave-opt %s --shard-search=mesh=tp 2>&1 | FileCheck %s --check-prefix=NOSIZE
// RUN: not cleave-opt %s --shard-search=mesh=tp=2,tp=2 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not cleave-opt %s --shard-search=mesh=tp=2,pp=2 2>&1 | FileCheck %s --check-prefix=STAGES
// RUN: not cleave-opt %s --shard-search="mesh=dp=2 strict" 2>&1 | FileCheck %s --check-prefix=IDLE
// RUN: not cleave-opt %s --shard-localize 2>&1 | FileCheck %s --check-prefix=EARLY

// SIZE: error: an axis is name=size, with a size of 1 to 4096, got: tp=0
// NOSIZE: error: an axis is name=size, with a size of 1 to 4096, got: tp
// TWICE: error: axis named twice: tp
// STAGES: error: axis "pp" of size 2 asks for pipeline stages, which are not made yet
// IDLE: error: axis "dp" of size 2 cuts nothing: it never cuts weights
// EARLY: error: has no mesh or no function main; run --shard-search first
func.func @main(%x: tensor<1x4xf32>) -> tensor<1x4xf32> {
  %y = nn.tanh %x : tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
