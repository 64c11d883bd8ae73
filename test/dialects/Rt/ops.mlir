// RUN: cleave-opt %s --verify-roundtrip | FileCheck %s

func.func private @kernel_0(%x: tensor<8x64xf32>) -> tensor<8x64xf32> {
  return %x : tensor<8x64xf32>
}

// CHECK-LABEL: @launch
func.func @launch(%x: tensor<8x64xf32>) -> tensor<8x64xf32> {
  // CHECK: rt.launch @kernel_0(%{{.*}}) {rt.places = [#rt.place<arena 0 at 64 length 2048>]}
  // CHECK-SAME: (tensor<8x64xf32>) -> tensor<8x64xf32>
  %y = rt.launch @kernel_0(%x) {rt.places = [#rt.place<arena 0 at 64 length 2048>]}
     : (tensor<8x64xf32>) -> tensor<8x64xf32>
  return %y : tensor<8x64xf32>
}

// CHECK-LABEL: @copy
func.func @copy(%x: tensor<8x64xf32>) -> tensor<8x64xf32> {
  // CHECK: rt.copy %{{.*}} {rt.places = [#rt.place<output 1 at 0 length 2048>]} : tensor<8x64xf32>
  %y = rt.copy %x {rt.places = [#rt.place<output 1 at 0 length 2048>]} : tensor<8x64xf32>
  return %y : tensor<8x64xf32>
}
