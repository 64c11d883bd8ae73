//===- NnElementwiseOps.td - one element in, one element out --*- tablegen -*-===//
//
// Operands broadcast as in numpy: aligned at the last dimension, a size of 1
// (or a missing dimension) repeats.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_NN_ELEMENTWISE_OPS
#define CLEAVE_NN_ELEMENTWISE_OPS

include "NnBase.td"

class Nn_ElementwiseOp<string mnemonic, list<Trait> traits = []>
    : Nn_InferredOp<mnemonic, !listconcat(
        [DeclareOpInterfaceMethods<ElementwiseOpInterface>], traits)>;

class Nn_UnaryOp<string mnemonic, Type type, string meaning>
    : Nn_ElementwiseOp<mnemonic> {
  let summary = meaning;
  let arguments = (ins type:$input);
  let results = (outs type:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Nn_NegOp        : Nn_UnaryOp<"neg", Nn_Tensor, "-x">;
def Nn_AbsOp        : Nn_UnaryOp<"abs", Nn_Tensor, "|x|">;
def Nn_SignOp       : Nn_UnaryOp<"sign", Nn_Tensor, "-1, 0 or 1">;
def Nn_ExpOp        : Nn_UnaryOp<"exp", Nn_FloatTensor, "e^x">;
def Nn_LogOp        : Nn_UnaryOp<"log", Nn_FloatTensor, "natural logarithm">;
def Nn_SqrtOp       : Nn_UnaryOp<"sqrt", Nn_FloatTensor, "square root">;
def Nn_RsqrtOp      : Nn_UnaryOp<"rsqrt", Nn_FloatTensor, "1 / sqrt(x)">;
def Nn_ReciprocalOp : Nn_UnaryOp<"reciprocal", Nn_FloatTensor, "1 / x">;
def Nn_TanhOp       : Nn_UnaryOp<"tanh", Nn_FloatTensor, "hyperbolic tangent">;
def Nn_ErfOp        : Nn_UnaryOp<"erf", Nn_FloatTensor, "error function">;
def Nn_SigmoidOp    : Nn_UnaryOp<"sigmoid", Nn_FloatTensor, "1 / (1 + e^-x)">;
def Nn_SiluOp       : Nn_UnaryOp<"silu", Nn_FloatTensor, "x * sigmoid(x)">;
def Nn_SinOp        : Nn_UnaryOp<"sin", Nn_FloatTensor, "sine">;
def Nn_CosOp        : Nn_UnaryOp<"cos", Nn_FloatTensor, "cosine">;
def Nn_FloorOp      : Nn_UnaryOp<"floor", Nn_FloatTensor, "largest integer not above x">;
def Nn_CeilOp       : Nn_UnaryOp<"ceil", Nn_FloatTensor, "smallest integer not below x">;
def Nn_RoundOp      : Nn_UnaryOp<"round", Nn_FloatTensor, "nearest integer, ties to even">;
def Nn_NotOp        : Nn_UnaryOp<"not", Nn_BoolTensor, "logical complement">;

def Nn_IsNanOp : Nn_ElementwiseOp<"is_nan"> {
  let summary = "whether x is not a number";
  let arguments = (ins Nn_FloatTensor:$input);
  let results = (outs Nn_BoolTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Nn_GeluKind : Nn_Enum<"GeluKind", "how the normal distribution is computed",
    [I32EnumAttrCase<"Erf", 0, "erf">, I32EnumAttrCase<"Tanh", 1, "tanh">,
     I32EnumAttrCase<"Quick", 2, "quick">]>;

def Nn_GeluOp : Nn_ElementwiseOp<"gelu"> {
  let summary = "x * Φ(x), Φ exact or by one of its two usual approximations";
  let description = [{
    `erf`: x/2 (1 + erf(x/√2)). `tanh`: x/2 (1 + tanh(√(2/π)(x + 0.044715 x³))).
    `quick`: x sigmoid(1.702 x). Source: Hendrycks and Gimpel, arXiv 1606.08415.

    Example:
    ```mlir
    %y = nn.gelu erf %x : tensor<2x8xf32>
    ```
  }];
  let arguments = (ins Nn_GeluKind:$kind, Nn_FloatTensor:$input);
  let results = (outs Nn_FloatTensor:$result);
  let assemblyFormat = "$kind $input attr-dict `:` type($input)";
}

class Nn_BinaryOp<string mnemonic, Type type, string meaning, list<Trait> traits = []>
    : Nn_ElementwiseOp<mnemonic, traits> {
  let summary = meaning;
  let arguments = (ins type:$lhs, type:$rhs);
  let results = (outs type:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs)";
}

def Nn_AddOp : Nn_BinaryOp<"add", Nn_Tensor, "a + b", [Commutative]>;
def Nn_SubOp : Nn_BinaryOp<"sub", Nn_Tensor, "a - b">;
def Nn_MulOp : Nn_BinaryOp<"mul", Nn_Tensor, "a * b", [Commutative]>;
def Nn_DivOp : Nn_BinaryOp<"div", Nn_Tensor, "a / b; integers round towards zero">;
def Nn_PowOp : Nn_BinaryOp<"pow", Nn_Tensor, "a to the power b">;
def Nn_MaxOp : Nn_BinaryOp<"max", Nn_Tensor, "the larger; NaN if either is", [Commutative]>;
def Nn_MinOp : Nn_BinaryOp<"min", Nn_Tensor, "the smaller; NaN if either is", [Commutative]>;
def Nn_ModOp : Nn_BinaryOp<"mod", Nn_Tensor, "a - b * floor(a / b): the sign of b">;
def Nn_RemOp : Nn_BinaryOp<"rem", Nn_Tensor, "a - b * trunc(a / b): the sign of a">;
def Nn_AndOp : Nn_BinaryOp<"and", Nn_BoolTensor, "both", [Commutative]>;
def Nn_OrOp  : Nn_BinaryOp<"or", Nn_BoolTensor, "either", [Commutative]>;
def Nn_XorOp : Nn_BinaryOp<"xor", Nn_BoolTensor, "one but not both", [Commutative]>;

def Nn_CompareKind : Nn_Enum<"CompareKind", "order of two elements",
    [I32EnumAttrCase<"Eq", 0, "eq">, I32EnumAttrCase<"Ne", 1, "ne">,
     I32EnumAttrCase<"Lt", 2, "lt">, I32EnumAttrCase<"Le", 3, "le">,
     I32EnumAttrCase<"Gt", 4, "gt">, I32EnumAttrCase<"Ge", 5, "ge">]>;

def Nn_CompareOp : Nn_ElementwiseOp<"compare"> {
  let summary = "a bool for each pair; with NaN only `ne` holds";
  let description = [{
    Example:
    ```mlir
    %m = nn.compare le %i, %j : tensor<1x8xi64>, tensor<8x1xi64>
    ```
  }];
  let arguments = (ins Nn_CompareKind:$kind, Nn_Tensor:$lhs, Nn_Tensor:$rhs);
  let results = (outs Nn_BoolTensor:$result);
  let assemblyFormat = "$kind $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs)";
}

def Nn_SelectOp : Nn_ElementwiseOp<"select"> {
  let summary = "a where the condition holds, b elsewhere";
  let arguments = (ins Nn_BoolTensor:$condition, Nn_Tensor:$lhs, Nn_Tensor:$rhs);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $condition `,` $lhs `,` $rhs attr-dict `:` type($condition) `,` type($lhs) `,` type($rhs)
  }];
}

def Nn_CastOp : Nn_Op<"cast", [DeclareOpInterfaceMethods<ElementwiseOpInterface>]> {
  let summary = "the same number in another element type";
  let description = [{
    To bool: whether it is not zero. Float to integer truncates towards zero.
    Float to narrower float rounds to nearest even, overflow to infinity, or NaN
    where the type has no infinity (f8E4M3FN). With `saturate` numbers that an
    8-bit float does not reach, infinities too, become its largest of that sign.

    Constraints:
    - (C1) operand and result have the same shape.
    - (C2) only an 8-bit float saturates.

    Example:
    ```mlir
    %y = nn.cast %x : tensor<4xf32> to tensor<4xbf16>
    %z = nn.cast saturate %x : tensor<4xf32> to tensor<4xf8E4M3FN>
    ```
  }];
  let arguments = (ins Nn_Tensor:$input, UnitAttr:$saturate);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "(`saturate` $saturate^)? $input attr-dict `:` type($input) `to` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

#endif // CLEAVE_NN_ELEMENTWISE_OPS
