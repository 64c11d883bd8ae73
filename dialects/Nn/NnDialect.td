//===- NnDialect.td - the compiler's own tensor language ------*- tablegen -*-===//

#ifndef CLEAVE_NN_DIALECT
#define CLEAVE_NN_DIALECT

include "mlir/IR/DialectBase.td"

def Nn_Dialect : Dialect {
  let name = "nn";
  let cppNamespace = "::cleave::nn";
  let summary = "tensor operations of a model, one op per meaning";
  let hasConstantMaterializer = 1;
}

#endif // CLEAVE_NN_DIALECT
