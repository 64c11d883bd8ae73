//===- NnInterfaces.td - what the phases ask of an op ---------*- tablegen -*-===//

#ifndef CLEAVE_NN_INTERFACES
#define CLEAVE_NN_INTERFACES

include "mlir/IR/OpBase.td"

def ShardingRuleOpInterface : OpInterface<"ShardingRuleOpInterface"> {
  let cppNamespace = "::cleave::nn";
  let description = [{
    How an op may be cut, said once beside the op: naming, search, localisation
    and the property tests of the rules read it (ShardingRule.h).
  }];
  let methods = [
    InterfaceMethod<"The factors of this op, over its operands and results.",
                    "::cleave::nn::ShardingRule", "getShardingRule">
  ];
}

def ElementwiseOpInterface : OpInterface<"ElementwiseOpInterface"> {
  let cppNamespace = "::cleave::nn";
  let description = [{
    An op whose result element depends on one element of each operand, after
    numpy broadcasting. Its scalar meaning is said once, for all targets.
  }];
  let methods = [
    InterfaceMethod<[{
        Builds the op on scalars, or on vectors of one length, with arith and
        math. Floats narrower than f32 are computed in f32 by the caller.
      }],
      "::mlir::Value", "buildScalar",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$operands)>
  ];
}

#endif // CLEAVE_NN_INTERFACES
