//===- Passes.td - graph passes, in the order they run --------*- tablegen -*-===//

include "mlir/Pass/PassBase.td"

def FuseNorms : Pass<"graph-fuse-norms", "::mlir::func::FuncOp"> {
  let summary = "recognises RMSNorm and LayerNorm by what they compute";
  let description = [{
    Exporters write norms in a dozen ways: Pow or Mul, Sqrt and Div or Reciprocal,
    E[x²] - E[x]², in f32 between two casts. All are a value of x's shape that x and
    scalars determine; whether that value is a norm is found by evaluating it on
    small data, not by its spelling. A scale and a bias behind it are taken in.
  }];
  let dependentDialects = ["::cleave::nn::NnDialect"];
  let statistics = [Statistic<"numFused", "fused", "norms recognised">];
}

def FuseActivations : Pass<"graph-fuse-activations", "::mlir::func::FuncOp"> {
  let summary = "recognises GELU and SiLU by what they compute";
  let description = [{
    As graph-fuse-norms does: a value that x and scalars determine elementwise is
    evaluated on [-5, 5] and compared with each known activation.
  }];
  let dependentDialects = ["::cleave::nn::NnDialect"];
  let statistics = [Statistic<"numFused", "fused", "activations recognised">];
}

def FuseRope : Pass<"graph-fuse-rope", "::mlir::func::FuncOp"> {
  let summary = "recognises rotary embedding by what it computes";
  let description = [{
    Each lane of a value that is linear in x is read as a sum of lanes of x times lanes
    of tables. Where the lanes go in pairs (a cos - b sin, b cos + a sin), halves apart
    or side by side, and the others pass, the value is x turned. Tables that hold each
    number for both lanes of a pair are halved if the two can be shown to be equal.
  }];
  let dependentDialects = ["::cleave::nn::NnDialect"];
  let statistics = [Statistic<"numFused", "fused", "rotations recognised">];
}

def FuseAttention : Pass<"graph-fuse-attention", "::mlir::func::FuncOp"> {
  let summary = "recognises softmax(scale q kᵀ + mask) v";
  let description = [{
    From a softmax up to the product of two activations, through casts, scalar factors,
    a soft cap, added terms and scores replaced by a large negative number; and down to
    the product with v, through a guard against NaN. What is added or replaced becomes
    the mask operand, so nothing is assumed of it; a constant mask that is causal becomes
    the attribute. Keys and values that are repeated for grouped heads are read
    unrepeated.

    Probabilities that are read elsewhere keep the decomposed form.
  }];
  let dependentDialects = ["::cleave::nn::NnDialect"];
  let statistics = [Statistic<"numFused", "fused", "attentions recognised">];
}

def MultiplyBytes : Pass<"graph-multiply-bytes", "::mlir::func::FuncOp"> {
  let summary = "multiplies the 8-bit integers or floats of dequantised operands";
  let description = [{
    Of a product or convolution whose operands are both dequantised from 8 bits, with
    scales and zero points that do not vary along what is summed, the integers or
    8-bit floats are multiplied, and the sums scaled once. Zero points are corrections
    by sums of rows and columns, which wrap in i32 as the product does; floats have none.

    Weights alone stay what they are: the other operand would have to be quantised,
    which is not the compiler's to decide.
  }];
  let dependentDialects = ["::cleave::nn::NnDialect"];
  let statistics = [Statistic<"numMultiplied", "multiplied", "products of bytes made">];
}
