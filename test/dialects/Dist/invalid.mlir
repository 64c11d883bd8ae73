// RUN: cleave-opt %s -split-input-file -verify-diagnostics

func.func @slice_c1(%x: tensor<4xf32>) {
  // expected-error @below {{runs over no axis}}
  %r = dist.slice %x dim 0 over [] counts [4] : tensor<4xf32> to tensor<4xf32>
  return
}

// -----

func.func @slice_c2(%x: tensor<4xf32>) {
  // expected-error @below {{has no dimension 1, got: 'tensor<4xf32>'}}
  %r = dist.slice %x dim 1 over ["tp"] counts [2, 2] : tensor<4xf32> to tensor<2xf32>
  return
}

// -----

func.func @slice_c3(%x: tensor<4xf32>) {
  // expected-error @below {{has counts that sum to 3 at a dimension of 4}}
  %r = dist.slice %x dim 0 over ["tp"] counts [2, 1] : tensor<4xf32> to tensor<2xf32>
  return
}

// -----

func.func @slice_c4(%x: tensor<4xf32>) {
  // expected-error @below {{does not relate 'tensor<4xf32>' to its part 'tensor<1xf32>'}}
  %r = dist.slice %x dim 0 over ["tp"] counts [2, 2] : tensor<4xf32> to tensor<1xf32>
  return
}

// -----

func.func @offset_c1() {
  // expected-error @below {{names an axis twice, got: "tp"}}
  %r = dist.offset over ["tp", "tp"] counts [1, 1] : tensor<i64>
  return
}

// -----

func.func @offset_c2() {
  // expected-error @below {{has a negative count: -1}}
  %r = dist.offset over ["tp"] counts [1, -1] : tensor<i64>
  return
}

// -----

func.func @all_reduce_c1(%x: tensor<4xf32>) {
  // expected-error @below {{names an axis twice, got: "tp"}}
  %r = dist.all_reduce sum %x over ["tp", "tp"] : tensor<4xf32>
  return
}

// -----

module attributes {dist.mesh = #dist.mesh<"tp"=4>} {
func.func @all_reduce_c1_of_another_mesh(%x: tensor<4xf32>) {
  // expected-error @below {{names an axis that #dist.mesh<"tp"=4> lacks, got: ["dp"]}}
  %r = dist.all_reduce sum %x over ["dp"] : tensor<4xf32>
  return
}
}

// -----

module attributes {dist.mesh = #dist.mesh<"tp"=4>} {
func.func @all_gather_c3(%x: tensor<2xf32>) {
  // expected-error @below {{has 2 counts for a group of 4}}
  %r = dist.all_gather %x dim 0 over ["tp"] counts [2, 2] : tensor<2xf32> to tensor<4xf32>
  return
}
}

// -----

func.func @all_gather_c4(%x: tensor<2x3xf32>) {
  // expected-error @below {{does not relate 'tensor<4x2xf32>' to its part 'tensor<2x3xf32>'}}
  %r = dist.all_gather %x dim 0 over ["tp"] counts [2, 2] : tensor<2x3xf32> to tensor<4x2xf32>
  return
}

// -----

func.func @reduce_scatter_c3(%x: tensor<4xf32>) {
  // expected-error @below {{has counts that sum to 5 at a dimension of 4}}
  %r = dist.reduce_scatter sum %x dim 0 over ["tp"] counts [3, 2] : tensor<4xf32> to tensor<3xf32>
  return
}

// -----

func.func @all_to_all_c2(%x: tensor<4x2xf32>) {
  // expected-error @below {{needs two dimensions of 'tensor<4x2xf32>', got: 0, 0}}
  %r = dist.all_to_all %x split 0 concat 0 over ["tp"] splits [2, 2] concats [2, 2]
     : tensor<4x2xf32> to tensor<4x2xf32>
  return
}

// -----

func.func @all_to_all_c3(%x: tensor<4x2xf32>) {
  // expected-error @below {{has counts that sum to 3 and 4 between}}
  %r = dist.all_to_all %x split 0 concat 1 over ["tp"] splits [2, 1] concats [2, 2]
     : tensor<4x2xf32> to tensor<2x4xf32>
  return
}

// -----

func.func @all_to_all_c4(%x: tensor<4x2xf32>) {
  // expected-error @below {{does not lead from 'tensor<4x2xf32>' to 'tensor<3x4xf32>'}}
  %r = dist.all_to_all %x split 0 concat 1 over ["tp"] splits [2, 2] concats [2, 2]
     : tensor<4x2xf32> to tensor<3x4xf32>
  return
}

// -----

func.func @exchange_c1(%x: tensor<6xf32>) {
  // expected-error @below {{runs over no axis}}
  %r = dist.exchange %x over [] counts [6] : tensor<6xf32> to tensor<6xf32>
  return
}

// -----

func.func @exchange_c2(%x: tensor<6xf32>) {
  // expected-error @below {{has counts that are no square, got: 3}}
  %r = dist.exchange %x over ["tp"] counts [6, 3, 4] : tensor<6xf32> to tensor<6xf32>
  return
}

// -----

module attributes {dist.mesh = #dist.mesh<"tp"=3>} {
func.func @exchange_c2_mesh(%x: tensor<6xf32>) {
  // expected-error @below {{has 4 counts for a group of 3}}
  %r = dist.exchange %x over ["tp"] counts [6, 3, 4, 2] : tensor<6xf32> to tensor<5xf32>
  return
}
}

// -----

func.func @exchange_c3(%x: tensor<6xf32>) {
  // expected-error @below {{is no member's part of the exchange, got: 'tensor<6xf32>' to 'tensor<10xf32>'}}
  %r = dist.exchange %x over ["tp"] counts [6, 3, 4, 2] : tensor<6xf32> to tensor<10xf32>
  return
}

// -----

// expected-error @below {{an axis has no name of its own, got: "tp"}}
module attributes {dist.mesh = #dist.mesh<"tp"=2, "tp"=2>} {}

// -----

// expected-error @below {{axis "tp" has no rank, got size: 0}}
module attributes {dist.mesh = #dist.mesh<"tp"=0>} {}

// -----

func.func @send_c1(%x: tensor<6xf32>) {
  // expected-error @below {{runs over no axis}}
  dist.send %x to 1 over [] : tensor<6xf32>
  return
}

// -----

module attributes {dist.mesh = #dist.mesh<"pp"=2>} {
func.func @send_c2(%x: tensor<6xf32>) {
  // expected-error @below {{has no such peer, got: 2}}
  dist.send %x to 2 over ["pp"] : tensor<6xf32>
  return
}
}

// -----

func.func @recv_c1() {
  // expected-error @below {{names an axis twice, got: "pp"}}
  %x = dist.recv from 0 over ["pp", "pp"] : tensor<6xf32>
  return
}

// -----

func.func @recv_c2() {
  // expected-error @below {{has no such peer, got: -1}}
  %x = dist.recv from -1 over ["pp"] : tensor<6xf32>
  return
}

// -----

func.func @wait_c1(%x: tensor<6xf32>) {
  // expected-error @below {{runs over no axis}}
  dist.wait %x to 1 over [] : tensor<6xf32>
  return
}

// -----

func.func @wait_c2(%x: tensor<6xf32>) {
  // expected-error @below {{has no such peer, got: -2}}
  dist.wait %x to -2 over ["pp"] : tensor<6xf32>
  return
}
