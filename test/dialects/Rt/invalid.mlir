// RUN: cleave-opt %s -split-input-file -verify-diagnostics

func.func @launch_c1(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @below {{names no function, got: @nowhere}}
  %y = rt.launch @nowhere(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func private @kernel(%x: tensor<4xf32>) -> tensor<4xf32>

func.func @launch_c2(%x: tensor<5xf32>) -> tensor<4xf32> {
  // expected-error @below {{differs in type from @kernel, got: '(tensor<5xf32>) -> tensor<4xf32>'}}
  %y = rt.launch @kernel(%x) : (tensor<5xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
