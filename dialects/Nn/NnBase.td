//===- NnBase.td - what all nn ops share ----------------------*- tablegen -*-===//
//
// Every tensor is static: the sizes of a model's inputs are bound before a
// model becomes nn. A size may be 0 (an empty cache) or 1. Integers are
// signless where ONNX's are signed, `ui8`… where they are not; bool is i1.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_NN_BASE
#define CLEAVE_NN_BASE

include "NnDialect.td"
include "NnInterfaces.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Nn_Tensor : StaticShapeTensorOf<[AnyFloat, AnyInteger]>;
def Nn_FloatTensor : StaticShapeTensorOf<[AnyFloat]>;
def Nn_IntTensor : StaticShapeTensorOf<[AnyInteger]>;
def Nn_BoolTensor : StaticShapeTensorOf<[I1]>;

class Nn_Op<string mnemonic, list<Trait> traits = []>
    : Op<Nn_Dialect, mnemonic, !listconcat([Pure,
        DeclareOpInterfaceMethods<ShardingRuleOpInterface>], traits)>;

/// An op whose result type follows from its operands and attributes (Infer.cpp).
class Nn_InferredOp<string mnemonic, list<Trait> traits = []>
    : Nn_Op<mnemonic, !listconcat([InferTypeOpAdaptor], traits)>;

class Nn_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::cleave::nn";
}

#endif // CLEAVE_NN_BASE
