// RUN: cleave-opt %s --canonicalize | FileCheck %s

// A launch may fault, so it stays.
// CHECK-LABEL: @unused_launch_stays
func.func @unused_launch_stays(%x: tensor<4xf32>) {
  // CHECK: rt.launch
  %y = rt.launch @kernel(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// CHECK-LABEL: @unused_copy_goes
func.func @unused_copy_goes(%x: tensor<4xf32>) {
  // CHECK-NOT: rt.copy
  %y = rt.copy %x : tensor<4xf32>
  return
}

func.func private @kernel(%x: tensor<4xf32>) -> tensor<4xf32>
